"""
The two texts that tell what this program is: `--help`, on one screen, and `--version`.

What comes in: nothing. What goes out: texts, 24 lines of 80 columns at most.
"""

from __future__ import annotations

from sandboxer import __version__

KERNEL_FLOOR = "5.14"
"""The first Linux with all of the new mount API that the launcher uses."""

HELP = """\
usage: sandbox APP [ARGUMENT...]
       sandbox run [OPTION...] -- COMMAND [ARGUMENT...]
       sandbox VERB [--help] ... | --version | --help
Starts a program in a box that holds only what its policy grants.

  APP                     an application, by its policy (strict if it has none)
  run -- COMMAND          any command
    --policy NAME|FILE    application, set or file whose policy holds (strict)
    --set KEY=VALUE       one key of the policy; can be repeated
    --fd NAME=PATH[:rw], --keep-fd N, --env-file PATH   hand over what they name
    --die-with-parent     end with the program that started it
  open APP [FILE...]      hand files to APP, which may be running already
  install, unit           start it in its box from the menu, or from systemd
  explain APP             what APP can see and do here, and which line says so
  list, check [FILE...]   which policies there are, and mistakes in them
  ps, inspect, logs       which boxes run, what one has now, what was said there
  grant, revoke, grants   show a running box a file, take it away, list those
  exec BOX COMMAND        one more command in a running box
  kill, freeze, thaw BOX  end it, halt it, let it go on
  doctor                  what this machine lacks, and what helps
  --apart, --debug        before APP: not in its box that runs; what is done
example: sandbox run --set network.access=host -- curl https://example.org
exit status: the program's own; 125 no box, 126 not executable, 127 not found"""

VERSION = f"""\
sandboxer {__version__}
Needs Linux {KERNEL_FLOOR} or newer.
Licence GPL-3.0-or-later: free software, without any warranty."""
