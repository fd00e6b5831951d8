#!/usr/bin/env bash
# Installs an agent as a service: user, virtual environment, bundle, settings, unit. Run again, it brings all of
# that up to date and leaves settings and certificates as they are. See README.md beside this file.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root="" dry_run=0 board=orin-nano bundle="" python=python3
package=$(cd "$here/../.." && pwd)

usage() {
  cat <<'TEXT'
usage: install.sh --bundle DIR [--board orin-nano|orin-nx] [--package WHEEL|DIR|NAME] [--python PATH]
                  [--root DIR] [--dry-run]

  --bundle DIR    the bundle to run, in fp16 for TensorRT (sparsight bundle export --precision fp16)
  --board NAME    whose settings /etc/sparsight/agent.toml begins with; an existing one is kept (orin-nano)
  --package X     what pip installs: a wheel, a checkout (this one), or a name on your index
  --python PATH   3.10 or newer; JetPack's own, whose TensorRT the environment then sees (python3)
  --root DIR      install below DIR, with no user and no service: to look at, or for an image
  --dry-run       only say what would be done
TEXT
}

fail() {
  echo "install.sh: $*" >&2
  exit 2
}

run() {
  if ((dry_run)); then
    printf '+ %s\n' "${*@Q}"
  else
    "$@"
  fi
}

while (($#)); do
  case $1 in
    --dry-run) dry_run=1 ;;
    --help | -h) usage && exit 0 ;;
    --bundle | --board | --package | --python | --root)
      (($# > 1)) || fail "$1 wants a value; see --help"
      declare "${1#--}=$2"
      shift
      ;;
    *) fail "$1 is not known; see --help" ;;
  esac
  shift
done

[[ -n $bundle ]] || fail "say which bundle: --bundle DIR"
[[ -f $bundle/manifest.json ]] || fail "$bundle: no bundle here (no manifest.json)"
[[ -f $here/$board.toml ]] || fail "--board: expected orin-nano or orin-nx, got $board"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || fail "$python: expected Python 3.10 or newer"
if [[ -z $root ]] && ((!dry_run && EUID != 0)); then
  fail "must be root, to make a user and a service; see --dry-run and --root"
fi

prefix=$root/opt/sparsight etc=$root/etc/sparsight units=$root/etc/systemd/system
user=root group=root
if [[ -z $root ]]; then
  case $(readlink -f "$(command -v "$python")") in
    /home/* | /root/*) fail "$python: in somebody's home, where the service can't read it; give one of the system" ;;
  esac
  user=sparsight group=sparsight
  if ! getent passwd sparsight >/dev/null; then
    run useradd --system --user-group --home-dir /var/lib/sparsight --no-create-home \
      --shell /usr/sbin/nologin sparsight
  fi
fi

run install -d -m 0755 "$prefix" "$units"
run install -d -m 0750 -o "$user" -g "$group" "$root/var/lib/sparsight" "$root/var/cache/sparsight"
# JetPack's TensorRT is a package of the system.
[[ -x $prefix/venv/bin/python ]] || run "$python" -m venv --system-site-packages "$prefix/venv"
run "$prefix/venv/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade \
  "${package}[edge,tensorrt]"

# Beside the old one first, so that an agent never starts on half a bundle.
run rm -rf "$prefix/bundle.new"
run cp -rL "$bundle" "$prefix/bundle.new"
run chmod -R u=rwX,go=rX "$prefix/bundle.new"
run rm -rf "$prefix/bundle"
run mv "$prefix/bundle.new" "$prefix/bundle"

run install -d -m 0750 -g "$group" "$etc"
[[ -e $etc/agent.toml ]] || run install -m 0640 -g "$group" "$here/$board.toml" "$etc/agent.toml"
run install -m 0644 "$here/../systemd/sparsight-edge.service" "$units/"
run install -D -m 0644 "$here/jetson.conf" "$units/sparsight-edge.service.d/jetson.conf"

if [[ -z $root ]]; then
  run systemctl daemon-reload
fi

((dry_run)) || echo "Installed."
cat <<TEXT
What is left to do:
  1. put device.crt, device.key and ca.crt into $etc, the key with: chown root:$group, chmod 640
  2. set address and device in $etc/agent.toml
  3. as the agent's user, from a folder that it may read:
       cd /var/lib/sparsight
       as="sudo -u sparsight env XDG_CACHE_HOME=/var/cache/sparsight NUMBA_CACHE_DIR=/var/cache/sparsight/numba"
     build the engine, which takes minutes, and see whether all is well:
       \$as /opt/sparsight/venv/bin/sparsight edge build --bundle /opt/sparsight/bundle --plans /var/cache/sparsight/tensorrt
       \$as /opt/sparsight/venv/bin/sparsight edge doctor --config /etc/sparsight/agent.toml
  4. systemctl enable --now sparsight-edge
TEXT
