#!/usr/bin/env bash
# Installs a .deb in a clean Debian root, runs the unit's command line on /etc/essad as systemd would, and removes it again.
#
#     packaging/test-install.sh dist/essad_0.1.0_amd64.deb [ROOT [PLUGIN.deb]]
#
# ROOT is a clean Debian root that debootstrap has made; without it (or with "") one is made and removed. PLUGIN.deb is that of
# the engine wasmtime: it is installed as well, and a function is called there. Needs root, and debootstrap.
set -euo pipefail

deb=$(realpath "$1")
root=${2:-}
plugin=${3:+$(realpath "$3")}
here=$(dirname "$(realpath "$0")")
work=$(mktemp -d)
daemon=

cleanup() {
	if [ -n "$daemon" ] && kill -0 "$daemon" 2>/dev/null; then
		kill "$daemon" && wait "$daemon" || true
	fi
	umount "$root/proc" 2>/dev/null || true
	rm -rf --one-file-system "$work"
}
trap cleanup EXIT

if [ -z "$root" ]; then
	root=$work/root
	timeout 240 debootstrap --variant=minbase bookworm "$root" >"$work/debootstrap.log" 2>&1 ||
		{ tail -20 "$work/debootstrap.log"; exit 1; }
fi
mount -t proc proc "$root/proc" || echo "test-install: no /proc in the root; going on without"

fail() {
	echo "test-install: $*" >&2
	test -f "$work/daemon.log" && tail -20 "$work/daemon.log" >&2
	exit 1
}
inside() { chroot "$root" "$@"; }

cp "$deb" "$root/essad.deb"
inside dpkg -i /essad.deb
inside id essad
inside sh -c 'test "$(stat -c %U:%G:%a /etc/essad)" = root:essad:750' || fail "/etc/essad has the wrong owner or mode"
inside essad version
inside essad validate /etc/essad
inside sh -c 'zcat /usr/share/man/man1/essad-call.1.gz /usr/share/man/man5/essad.hcl.5.gz | grep -q "^\.SH NAME"' || fail "the manual is missing"
if [ -n "$plugin" ]; then
	cp "$plugin" "$root/plugin.deb"
	cp "$here/../examples/splitter/splitter.wasm" "$root/splitter.wasm"
	inside dpkg -i /plugin.deb
	echo 'engine "wasmtime" {}' >"$root/etc/essad/wasmtime.hcl"
	sed -i 's/^executor {}/executor {\n  engines = ["wazero", "wasmtime"]\n}/' "$root/etc/essad/essad.hcl"
	chmod 644 "$root/etc/essad/wasmtime.hcl"
	inside essad validate /etc/essad
fi

# What systemd does for the unit: StateDirectory, RuntimeDirectory, User, UMask, and the command line itself.
command=$(sed -n 's/^ExecStart=//p' "$root/usr/lib/systemd/system/essad.service")
inside install -d -o essad -g essad -m 0700 /var/lib/essad
inside install -d -o essad -g essad -m 0755 /run/essad
cat >"$root/start" <<END
#!/bin/sh
umask 0077
exec $command
END
chmod 755 "$root/start"
uid=$(inside id -u essad) gid=$(inside id -g essad)
chroot --userspec="$uid:$gid" "$root" /start >"$work/daemon.log" 2>&1 &
daemon=$!
for _ in $(seq 100); do
	test -S "$root/run/essad/essad.sock" && break
	kill -0 $daemon 2>/dev/null || fail "the daemon did not start"
	sleep 0.1
done
for _ in $(seq 50); do
	inside essad status >"$work/status" 2>&1 && break
	sleep 0.1
done
cat "$work/status"
inside essad status >/dev/null || fail "essad status"
inside essad kvs PUT package works
test "$(inside essad kvs GET package)" = works || fail "what was put is not there"
if [ -n "$plugin" ]; then
	inside essad deploy splitter /splitter.wasm --engine wasmtime
	inside essad call splitter noop || fail "a call on the engine wasmtime"
	inside essad plugins | grep wasmtime || fail "the engine wasmtime is not there"
fi
kill -TERM $daemon
wait $daemon || fail "the daemon ended with status $?"
daemon=

echo "# changed" >>"$root/etc/essad/essad.hcl"
inside dpkg -i --force-confold /essad.deb
grep -q "^# changed" "$root/etc/essad/essad.hcl" || fail "an upgrade replaced a changed configuration"
test -z "$plugin" || inside dpkg -P essad-plugin-wasmtime
rm -f "$root/etc/essad/wasmtime.hcl"
inside dpkg -r essad
test ! -e "$root/usr/bin/essad" || fail "the program is left after removal"
inside dpkg -P essad
test ! -e "$root/etc/essad/essad.hcl" || fail "the configuration is left after purging"
test -d "$root/var/lib/essad" || fail "purging removed data"
echo "test-install: installed, ran, upgraded, removed"
