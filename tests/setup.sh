# shellcheck shell=sh disable=SC2034,SC2154  # variables go to and come from the two that source this
# SPDX-License-Identifier: GPL-3.0-or-later
#
# What ./run and ./test share: everything between a fresh clone and an installed project.
# They set `tree` (the checkout) and source this file.
#
# It changes: system packages (apt, as root or through sudo), and build/ in the checkout. Called as root it makes an
# ordinary user to do the rest, because the sandbox refuses to run as root (through sudo it takes the user who called),
# and works in a copy of the tree in that user's home, where build/ is then. It says what it is about to do before each
# step, and says nothing where nothing is to be done.

ACCOUNT=sandboxer-dev
BUILD_PACKAGES="python3 python3-venv python3-dev gcc libc6-dev libcap-dev libseccomp2 cmake ninja-build musl-tools"
lists_are_fresh=
newline='
'

say() { printf 'set-up: %s\n' "$*" >&2; }

stop() {
    say "$@"
    exit 125
}

# as_admin COMMAND...: as root, whoever we are. That there is sudo is for the caller to know.
as_admin() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -- "$@"; fi
}

# missing_packages NAME...: those that are not installed, with blanks between them.
missing_packages() {
    # shellcheck disable=SC2016  # the dollar signs are dpkg-query's
    installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$@" 2>/dev/null || true)
    missing=
    for package in "$@"; do
        case $newline$installed$newline in
            *"$newline$package installed$newline"*) ;;
            *) missing="$missing $package" ;;
        esac
    done
    printf '%s' "${missing# }"
}

# install_packages PURPOSE NAME...
install_packages() {
    purpose=$1
    shift
    missing=$(missing_packages "$@")
    [ -n "$missing" ] || return 0
    if ! command -v apt-get >/dev/null; then
        say "this system has no apt-get; $purpose needs what Debian calls: $*"
        say "going on as if all that were here"
        return 0
    fi
    say "$purpose needs system packages that are not installed: $missing"
    if [ "$(id -u)" -eq 0 ]; then
        how=apt-get
    elif command -v sudo >/dev/null; then
        how="apt-get through sudo, which may ask for your password"
    else
        # Here, not in as_admin, whose output goes into the log.
        stop "that needs root, and there is no sudo here: as root, run: apt-get update && apt-get install --no-install-recommends $missing"
    fi
    say "installing them with $how; this can take some minutes"
    log=$(mktemp)
    # shellcheck disable=SC2086  # a list of names
    if ! { { [ -n "$lists_are_fresh" ] || as_admin apt-get -q -o Acquire::Retries=3 update; } &&
        as_admin env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Acquire::Retries=3 \
            -o DPkg::Lock::Timeout=300 install --no-install-recommends $missing; } >"$log" 2>&1 </dev/null; then
        tail -n 30 "$log" >&2
        stop "the packages could not be installed; the last lines of apt-get's output are above, all of it is in $log"
    fi
    lists_are_fresh=yes
    rm -f "$log"
}

# tree_key NAME...: a checksum over the names and contents of the files in these parts of the tree.
tree_key() {
    (cd "$tree" && find "$@" \( -path ./.git -o -path ./.venv -o -path ./build -o -name __pycache__ -o -name '.*_cache' \
        -o -name .hypothesis -o -name '*.egg-info' \) -prune -o -type f -exec cksum {} + 2>/dev/null |
        LC_ALL=C sort | cksum | tr -d ' ')
}

# note FILE TEXT: the text becomes the file's content. The file is the user's, so root doesn't write it.
note() {
    # shellcheck disable=SC2016  # for the inner shell
    as_user sh -c 'printf "%s\n" "$2" >"$1"' sh "$1" "$2"
}

# The distribution's short name ("debian", "ubuntu"), or nothing.
# shellcheck disable=SC1091  # not ours
distribution() { (. /etc/os-release && printf '%s' "${ID:-}") 2>/dev/null || true; }

# prepare_user: sets `work` (the tree that is worked in) and `venv`; from here on as_user runs commands as an ordinary user.
prepare_user() {
    if [ "$(id -u)" -ne 0 ]; then
        work=$tree
        venv=$work/build/venv
        mkdir -p "$work/build"
        if [ -z "${XDG_RUNTIME_DIR:-}" ]; then
            XDG_RUNTIME_DIR=$work/build/runtime
            mkdir -p "$XDG_RUNTIME_DIR"
            chmod 0700 "$XDG_RUNTIME_DIR"
            export XDG_RUNTIME_DIR
        fi
        return
    fi
    if [ -n "${SUDO_USER:-}" ] && [ "$SUDO_USER" != root ]; then ACCOUNT=$SUDO_USER; fi
    if ! id -u "$ACCOUNT" >/dev/null 2>&1; then
        say "the sandbox is for ordinary users and refuses to run as root: making the user $ACCOUNT to run as"
        useradd --create-home --user-group --shell /bin/sh "$ACCOUNT"
    fi
    uid=$(id -u "$ACCOUNT")
    gid=$(id -g "$ACCOUNT")
    user_home=$(getent passwd "$ACCOUNT" | cut -d: -f6)
    runtime=/run/user/$uid
    mkdir -p /run/user
    [ -d "$runtime" ] || install -d -m 0700 -o "$uid" -g "$gid" "$runtime"
    work=$user_home/.cache/sandboxer-checkout
    venv=$work/build/venv
    home_of_tree=$tree
    (
        cd /
        as_user mkdir -p "$work/build"
        key=$(tree_key .)
        [ "$(cat "$work/build/copied" 2>/dev/null)" != "$key" ] || exit 0
        say "copying the tree to $work, where $ACCOUNT can read it and build in it"
        as_user find "$work" -mindepth 1 -maxdepth 1 ! -name build -exec rm -rf {} +
        tar -C "$home_of_tree" --exclude=./.git --exclude=./.venv --exclude=./build -cf - . | as_user tar -C "$work" -xf -
        note "$work/build/copied" "$key"
    )
}

# as_user COMMAND...: as the ordinary user, in the tree that is worked in.
# Root's environment stays behind, but for what a terminal, a proxy, a package index and a CI runner set.
as_user() {
    if [ "$(id -u)" -ne 0 ]; then
        (cd "$work" && PATH=$venv/bin:$PATH exec "$@")
        return
    fi
    (
        for name in TERM COLORTERM NO_COLOR LANG LANGUAGE LC_ALL TZ CI DISPLAY \
            http_proxy https_proxy no_proxy all_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY \
            SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE $(env | sed -n 's/^\(PIP_[A-Z_]*\)=.*/\1/p'); do
            eval "value=\${$name-}"
            # shellcheck disable=SC2154  # set by eval
            [ -z "$value" ] || set -- "$name=$value" "$@"
        done
        cd "$work" 2>/dev/null || cd /
        exec setpriv --reuid "$uid" --regid "$gid" --init-groups env -i HOME="$user_home" USER="$ACCOUNT" \
            LOGNAME="$ACCOUNT" SHELL=/bin/sh XDG_RUNTIME_DIR="$runtime" \
            PATH="$venv/bin:/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games" \
            ${xauthority:+"XAUTHORITY=$xauthority"} "$@"
    )
}

# prepare_cgroup: `cgroup` becomes a directory of the cgroup tree that is the ordinary user's own, in which a user manager
# can run (tests/sessions.py). Only root can make one; the user's own manager gives its user one, and `scope` becomes how
# to ask for it, unless we are in such a one. Both are empty where there can be none. remove_cgroup undoes it.
prepare_cgroup() {
    cgroup=
    cgroup_tree=
    scope=
    if [ "$(id -u)" -ne 0 ]; then
        if ! grep -q '^0::.*/user@' /proc/self/cgroup && systemd-run --user --scope --quiet true 2>/dev/null; then
            scope="systemd-run --user --scope --quiet --property=Delegate=yes --"
        fi
        return
    fi
    # shellcheck disable=SC2013  # words: a mount point with a blank in it is written without
    for mounted in $(sed -n 's/^[^ ]* [^ ]* [^ ]* [^ ]* \([^ ]*\) .* - cgroup2 .*$/\1/p' /proc/self/mountinfo); do
        cgroup=$(mktemp -d "$mounted/sandboxer-test-XXXXXX" 2>/dev/null) && break
    done
    if [ -z "$cgroup" ]; then
        cgroup_tree=$(mktemp -d)
        chmod 0755 "$cgroup_tree"
        mount -t cgroup2 cgroup2 "$cgroup_tree" 2>/dev/null || return 0
        cgroup=$(mktemp -d "$cgroup_tree/sandboxer-test-XXXXXX" 2>/dev/null) || return 0
    fi
    chmod 0755 "$cgroup"
    chown "$uid:$gid" "$cgroup" "$cgroup/cgroup.procs" "$cgroup/cgroup.threads" "$cgroup/cgroup.subtree_control"
}

remove_cgroup() {
    if [ -n "$cgroup" ]; then
        find "$cgroup" -depth -type d -exec rmdir {} + || say "something of the tests still runs in $cgroup"
    fi
    if [ -n "$cgroup_tree" ]; then
        umount "$cgroup_tree" 2>/dev/null || true
        rmdir "$cgroup_tree"
    fi
}

# in_cgroup COMMAND...: in the cgroup that root has made, if it could.
in_cgroup() {
    if [ -z "$cgroup" ]; then
        "$@"
    else
        (echo 0 >"$cgroup/cgroup.procs" && "$@")
    fi
}

# fetch_entries: the desktop entries, autostart entries and D-Bus services of some seventy applications, from their
# packages, into build/desktop-entries. Nothing is installed, and the packages aren't kept.
fetch_entries() {
    command -v apt-get >/dev/null || return 0
    list=$tree/tests/desktop/entries-packages.txt
    key=$(cksum <"$list")
    [ "$(cat "$work/build/desktop-entries/fetched" 2>/dev/null)" != "$key" ] || return 0
    say "fetching the packages of some seventy applications for their desktop entries (50 MB; nothing is installed)"
    [ -n "$lists_are_fresh" ] || as_admin apt-get -q -o Acquire::Retries=3 update >/dev/null 2>&1 || true
    names=$(apt-cache pkgnames | grep -Fx -f "$list" | sort | tr '\n' ' ')
    # shellcheck disable=SC2016  # for the inner shell
    quietly "fetching the packages" sh -c 'rm -rf build/desktop-entries build/packages && mkdir -p build/desktop-entries \
        build/packages && cd build/packages && apt-get -q -o Acquire::Retries=3 download $1 && for package in *.deb; do
            dpkg-deb --fsys-tarfile "$package" | tar -x -C ../desktop-entries --wildcards "./usr/share/applications/*" \
                "./usr/share/dbus-1/services/*" "./etc/xdg/autostart/*" 2>/dev/null || true # few have all three
        done; cd .. && rm -rf packages' sh "$names"
    note "$work/build/desktop-entries/fetched" "$key"
}

# say_where: where the commands are, and how they are called from the user's own shell.
say_where() {
    if [ "$(id -u)" -ne 0 ]; then
        say "sandbox is $venv/bin/sandbox; README.md says how to install it for good"
    else
        say "sandbox is $venv/bin/sandbox, to be called as $ACCOUNT"
        [ "$ACCOUNT" = "${SUDO_USER:-}" ] || say "for example: su - $ACCOUNT -c '$venv/bin/sandbox list'"
    fi
}

# quietly WHAT COMMAND...: as the ordinary user; its output is shown only when it fails.
quietly() {
    what=$1
    shift
    log=$(mktemp)
    if ! as_user "$@" >"$log" 2>&1 </dev/null; then
        tail -n 60 "$log" >&2
        stop "$what failed; the last lines of its output are above, all of it is in $log"
    fi
    rm -f "$log"
}

# install_project EXTRAS: the project in build/venv, with `EXTRAS` ("" or "test lint") of its optional dependencies.
install_project() {
    python=/usr/bin/python3
    [ -x "$python" ] || python=$(command -v python3) || stop "there is no python3"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        stop "Python 3.11 or newer is needed, and $python is $("$python" -V): Debian 12, Ubuntu 24.04 or newer have it"
    wanted="$(tree_key pyproject.toml) $("$python" -V)"
    have=$(cat "$work/build/requirements-installed" 2>/dev/null || true)
    case $have in
        "$wanted:"*"$1"*) ;;
        *)
            if [ "${have%:*}" != "$wanted" ]; then
                say "making a Python environment in $venv"
                quietly "making the Python environment" "$python" -m venv --clear "$venv"
            fi
            say "installing the Python packages that pyproject.toml names into it (python-prctl is compiled)"
            # shellcheck disable=SC2086  # a list of names
            as_user "$venv/bin/python" - $1 <<'END'
import sys, tomllib
with open("pyproject.toml", "rb") as file:
    tables = tomllib.load(file)
wanted = tables["build-system"]["requires"] + tables["project"]["dependencies"]
for extra in sys.argv[1:]:
    wanted += tables["project"]["optional-dependencies"][extra]
with open("build/requirements.txt", "w") as file:
    print(*wanted, sep="\n", file=file)
END
            quietly "pip" "$venv/bin/python" -m pip install --use-pep517 --disable-pip-version-check \
                --retries 5 -r "$work/build/requirements.txt"
            note "$work/build/project-installed" nothing
            note "$work/build/requirements-installed" "$wanted:$1"
            ;;
    esac
    key=$(tree_key pyproject.toml sandboxer launchers policies desktop)
    if [ "$(cat "$work/build/project-installed" 2>/dev/null)" = "$key" ]; then
        permit_namespaces
        return
    fi
    say "building the launcher and installing sandboxer"
    quietly "the build" "$venv/bin/python" -m pip install --disable-pip-version-check --no-deps --no-build-isolation \
        --force-reinstall "$work"
    note "$work/build/project-installed" "$key"
    permit_namespaces
}

# permit_namespaces: Ubuntu lets only programs with an AppArmor profile use the user namespaces that they make. Ours
# gets one that permits just that; without it every start says so and ends.
permit_namespaces() {
    [ "$(cat /proc/sys/kernel/apparmor_restrict_unprivileged_userns 2>/dev/null)" = 1 ] || return 0
    program=$venv/bin/sandbox
    profile=/etc/apparmor.d/sandboxer-$(printf '%s' "$program" | cksum | cut -d ' ' -f 1)
    text=$(as_user "$program" doctor --apparmor-profile) || stop "the AppArmor profile could not be made"
    text=$(printf '%s' "$text" | sed "s/^profile sandboxer /profile ${profile##*/} /") # one for each checkout
    [ "$(cat "$profile" 2>/dev/null)" != "$text" ] || return 0
    say "this system lets only programs with an AppArmor profile make sandboxes: installing $profile, which permits"
    say "user namespaces to $program, as root"
    printf '%s\n' "$text" | as_admin tee "$profile" >/dev/null
    as_admin apparmor_parser --replace "$profile"
}
