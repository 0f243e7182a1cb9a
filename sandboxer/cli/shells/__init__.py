"""
Completion for shells, as scripts that start nothing: `python -m sandboxer.cli.shells bash|zsh|fish` prints one.

What comes in: the grammar, the policy model, the names of shipped policies. What goes out: desktop/completions/. What
only the user's machine knows, the scripts find by globbing: policies in /etc/sandboxer and ~/.config/sandboxer, running
boxes in the runtime directory. They never evaluate a name that they find, and offer none that isn't a policy's.
"""
