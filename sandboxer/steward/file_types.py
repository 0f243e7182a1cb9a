"""
What type a file is of, when another program is to open it.

What comes in: a name, and how the content begins. What goes out: one type that both agree on, or none. What could be
run has none, whatever it is called. It opens nothing of the application's.

Source: the shared MIME info database, by way of pyxdg.
"""

from __future__ import annotations

HEAD_SIZE, HEAD_SIZE_MAX = 4096, 1024 * 1024
EXECUTABLE_STARTS = (b"#!", b"\x7fELF", b"MZ", b"[Desktop Entry]")
NEVER = frozenset(
    """
    application/x-desktop application/x-executable application/x-sharedlib application/x-pie-executable
    application/x-shellscript application/x-csh text/x-python text/x-python3 application/x-perl application/x-ruby
    application/x-php application/javascript text/javascript application/ecmascript application/x-awk text/x-tcl
    application/x-msdownload application/x-ms-dos-executable application/x-msdos-program application/x-msi
    application/vnd.microsoft.portable-executable application/x-java-archive application/java-archive
    application/x-java application/x-java-jnlp-file application/vnd.appimage application/x-iso9660-appimage
    application/x-mswinurl application/x-wine-extension-msp application/x-bat application/vnd.flatpak
    application/vnd.flatpak.ref application/vnd.snap application/x-rpm application/vnd.debian.binary-package
    """.split()
)
"""Types of what can be run, installed, or names what is to be run: no rule permits them."""
NEVER_NAMED = tuple(".desktop .directory .url .sh .bash .py .pl .rb .js .exe .jar .appimage".split())


def head_size() -> int:
    """How many bytes from a file's start tell its type: as many as some rule of the database looks at."""
    from xdg import Mime

    Mime.update_cache()
    return min(max(HEAD_SIZE, int(Mime.magic.maxlen)), HEAD_SIZE_MAX)


def type_of(name: str, head: bytes) -> str:
    """
    The type of a file; "" when its name and its content disagree, when it could be run, or when nothing is known of it.

    Args:
        head: the first `head_size()` bytes of it.
    """
    from xdg import Mime

    if name.lower().endswith(NEVER_NAMED) or head.startswith(EXECUTABLE_STARTS):
        return ""
    by_name, by_content = Mime.get_type_by_name(name), Mime.magic.match_data(head)
    if by_name is None or str(by_name) in NEVER or str(by_content) in NEVER:
        return ""
    alike = {str(by_name), *_parents(by_name)}
    if NEVER.intersection(alike):
        return ""
    if by_content is not None:
        return str(by_name) if str(by_content) in alike else ""
    if "text/plain" in alike or str(by_name).startswith("text/"):
        return "" if b"\0" in head else str(by_name)
    # The database knows how some types begin, and this file doesn't begin so.
    return "" if by_name in Mime.magic.bytype else str(by_name)


def _parents(kind: object) -> set[str]:
    from xdg import Mime

    above: set[str] = set()
    ahead = [kind]
    while ahead:
        for parent in Mime.inheritance.get(ahead.pop(), ()):
            if str(parent) not in above:
                above.add(str(parent))
                ahead.append(parent)
    return above
