#!/bin/sh
# Makes .venv-bench, where the peers live. Does nothing if it is there and requirements.txt and this file are unchanged.
# PYTHON chooses the interpreter; with PENSTOCK_BENCH_PYTHON set, the peers are yours to install.
set -eu
cd "$(dirname "$0")/.."
[ -z "${PENSTOCK_BENCH_PYTHON:-}" ] || exit 0

home=.venv-bench
recipe=benchmarks/requirements.txt
stamp=$home/.installed
if cat "$recipe" "benchmarks/setup.sh" | cmp -s - "$stamp"; then exit 0; fi

"${PYTHON:-python3}" -m venv "$home"
install() { "$home/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }
install "$(grep '^torch==' "$recipe")"
install --requirement "$recipe" --constraint "$recipe"
# The last torchdata with datapipes. Without dependencies (it runs on today's torch), and out of the way of torchdata.nodes.
rm -rf "$home/torchdata-0.9"
install --no-deps --target "$home/torchdata-0.9" torchdata==0.9.0
cat "$recipe" "benchmarks/setup.sh" > "$stamp"
