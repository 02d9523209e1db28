#!/usr/bin/env bash
# Builds the example guests in Rust into a folder, for the tests that run them: they find it in ESSAD_GUESTS_RUST.
#
#     sdk/rust/guests.sh OUT
#
# Needs cargo and Rust's target wasm32-wasip1; README.md beside this file says where they come from. The modules are not
# committed, because other people's crates are in them.
set -euo pipefail

[ $# = 1 ] || { echo "usage: sdk/rust/guests.sh OUT" >&2; exit 2; }
mkdir -p "$1"
out=$(realpath "$1")
cd "$(dirname "$0")"

# Debian's compiler comes without a linker of its own for this target; rustup's has one.
if command -v wasm-ld >/dev/null; then export CARGO_TARGET_WASM32_WASIP1_LINKER=wasm-ld; fi
target=${CARGO_TARGET_DIR:-target}/wasm32-wasip1/release
build() { cargo build --locked --quiet --release --target wasm32-wasip1 "$@"; }

# The same with the eight imports of upstream alone.
build -p essa-probe --features upstream
mkdir -p "$out/upstream"
cp "$target/essa_probe.wasm" "$out/upstream/probe-rust.wasm"

build -p essa-test-function -p bench-rust -p hello-rust -p essa-probe
cp "$target/essa-test-function.wasm" "$out/test-function-rust.wasm"
cp "$target/bench_rust.wasm" "$out/bench-rust.wasm"
cp "$target/hello_rust.wasm" "$out/hello-rust.wasm"
cp "$target/essa_probe.wasm" "$out/probe-rust.wasm"
(cd "$out" && ls -l -- *.wasm upstream/*.wasm)
