#!/usr/bin/env bash
# Installs the main package and that of the plugin wasmedge on this machine, calls a function on that engine, and removes both.
# This machine is to be a root that may be changed, of a Debian that has libwasmedge0: .ci/in-root ROOT packaging/test-wasmedge.sh
#
#     packaging/test-wasmedge.sh dist/essad_0.1.0_amd64.deb dist/essad-plugin-wasmedge_0.1.0_amd64.deb
set -euo pipefail

work=$(mktemp -d)
daemon=
cleanup() {
	if [ -n "$daemon" ] && kill "$daemon" 2>/dev/null; then
		wait "$daemon" || true
	fi
	dpkg -P essad-plugin-wasmedge essad >/dev/null 2>&1 || true
	rm -rf --one-file-system "$work"
}
trap cleanup EXIT
fail() {
	echo "test-wasmedge: $*" >&2
	cat "$work/log" >&2 2>/dev/null || true
	exit 1
}

dpkg -i "$1" "$2"
cat >"$work/essad.hcl" <<END
node {
  data_dir    = "$work/data"
  runtime_dir = "$work/run"
}
routing {}
kvs {
  store = ""
}
scheduler {}
executor {
  engines = ["wasmedge"]
}
engine "wasmedge" {}
END
essad --config "$work/essad.hcl" >"$work/log" 2>&1 &
daemon=$!
export ESSA_ADDRESS=$work/run/essad.sock
for _ in $(seq 200); do
	essad status 2>/dev/null | grep -q 'wasmedge (engine) ready' && break
	kill -0 "$daemon" 2>/dev/null || fail "the daemon ended"
	sleep 0.1
done
essad deploy splitter examples/splitter/splitter.wasm
essad call splitter noop || fail "the call failed"
dpkg -r essad-plugin-wasmedge
test ! -e /usr/lib/essad/plugins/essad-plugin-wasmedge || fail "the plugin is left after removal"
echo "test-wasmedge: installed, called, removed"
