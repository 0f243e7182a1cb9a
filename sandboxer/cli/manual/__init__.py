"""
Manual pages: `python -m sandboxer.cli.manual sandbox.1|sandbox-broker.1|sandboxer-policy.5` prints one.

What comes in: the grammar of the command line, the client's help, the policy model and its reference. What goes out:
desktop/man/, in the man(7) macros that groff and mandoc both know.
"""
