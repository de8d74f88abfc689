# Recipes for people; ops/test and .ci/run need no `just`. `just` alone lists them.

tools := env("SEALGATE_TOOLS", env("HOME") / ".cache/sealgate-tools")
use_tools := "set -euo pipefail; . '" + tools + "/env'"

_list:
    @just --list --unsorted

# Both planes in one process, with everything they need, over ./.dev
dev *ARGS:
    cargo run -p sealgate -- dev {{ARGS}}

# All tests, installing what they need; or single stages (ops/test --list)
test *STAGES:
    ./ops/test {{STAGES}}

# Rewrites the sources in the house's format
fmt:
    cargo fmt --all

# Clippy over everything, warnings are errors
lint:
    ./ops/test lint

# Licenses, bans and sources of every dependency
deny:
    ./ops/install-tools deny
    ./ops/test fetch deny

# Known vulnerabilities: needs the advisory database from the network
advisories:
    @bash -c "{{use_tools}}; cargo deny --locked check advisories"

# Writes the golden vectors of the format anew: only for a change that is meant, which the diff then shows
vectors:
    @bash -c "{{use_tools}}; SEALGATE_WRITE_VECTORS=1 cargo nextest run --locked -p sealgate-envelope --lib vectors"

# Fuzz targets, an hour each: `just fuzz --seconds 60 envelope note`
fuzz *ARGS='--seconds 3600':
    @bash -c "{{use_tools}}; ops/fuzz/run {{ARGS}}"

# Whether the time of comparing a signature, a commitment or the admin token tells where they differ: some minutes, on a quiet machine
timing:
    @bash -c "{{use_tools}}; cargo nextest run --locked --release --lib -p sealgate-envelope -p sealgate-data-plane -p sealgate-control-plane --run-ignored only --no-capture -E 'test(timing_of)'"

# Mutants of the object format that no test notices: a mutant takes seconds, all of them most of an hour; writes docs/results/mutants.md
mutants *ARGS:
    @bash -c "{{use_tools}}; ops/mutants/run {{ARGS}}"

# Records what clients send, for the replay in the unit tests: `just record boto3 mc` (docs/howto/record-a-client.md)
record *ARGS:
    @bash -c "{{use_tools}}; \$SEALGATE_PYTHON ops/compat/clients/kept/record.py {{ARGS}}"

# CPU-seconds per GiB against nginx, for the real gateway
bench *ARGS:
    @bash -c "{{use_tools}}; ops/bench/run {{ARGS}}"

# Everything on real input, one backend at a time; writes docs/results/
acceptance *BACKENDS:
    ./ops/acceptance {{BACKENDS}}

# The conformance cases against each server alone, through Sealgate before it and on the filesystem; writes docs/s3-parity.md (--page, --check)
parity *BACKENDS:
    @bash -c "{{use_tools}}; \$SEALGATE_PYTHON ops/compat/parity.py {{BACKENDS}}"

# The clients that people use, all of them, through Sealgate and against each server alone: hours; writes docs/compatibility.md (--client NAME, --list)
clients *ARGS:
    cargo build --locked -p sealgate -p sealgate-control-plane -p sealgate-data-plane --bins
    ops/compat/clients/run.py --record {{ARGS}}

# The clients that install within minutes, with their guides and the tests of what runs them, before the filesystem: some minutes; CI's job `clients`
clients-fast *ARGS:
    cargo build --locked -p sealgate -p sealgate-control-plane -p sealgate-data-plane --bins
    ops/compat/clients/run.py --fast {{ARGS}}

# Kills, power cuts, full disks and failing syncs, and what is there afterwards (as root; --rounds N, --only kill)
crash *ARGS:
    cargo build --locked -p sealgate
    @bash -c "{{use_tools}}; \$SEALGATE_PYTHON ops/crash/run.py {{ARGS}}"

# The key side under every kind of failure, against OpenBao, moto and LocalStack (--list, --only WORD, --results FILE)
kms *ARGS:
    cargo build --locked -p sealgate -p sealgate-control-plane -p sealgate-data-plane --bins
    @bash -c "{{use_tools}}; \$SEALGATE_PYTHON ops/kms/run.py {{ARGS}}"

# Whether refusals come within 10 ms while a breaker is open, in a release build: on a quiet machine
kms-open *ARGS:
    cargo build --locked --release -p sealgate -p sealgate-control-plane -p sealgate-data-plane --bins
    @bash -c "{{use_tools}}; SEALGATE_BIN_DIR=target/release SEALGATE_OPEN_MS=10 \$SEALGATE_PYTHON ops/kms/run.py --only missing-is-503 aws-down sealed-is-down {{ARGS}}"

# Mixed work while the KMS fails at random (--minutes N): nothing is lost, nothing hangs, nothing grows
kms-soak *ARGS:
    cargo build --locked -p sealgate -p sealgate-control-plane -p sealgate-data-plane --bins
    @bash -c "{{use_tools}}; \$SEALGATE_PYTHON ops/kms/soak.py {{ARGS}}"

# Mixed work for an hour (--minutes N, --backend NAME): nothing is lost, nothing grows
soak *ARGS:
    cargo build --locked -p sealgate
    @bash -c "{{use_tools}}; \$SEALGATE_PYTHON ops/crash/soak.py {{ARGS}}"

# One control plane and two nodes behind a balancer
example:
    ./ops/example/run

# The servers, clients and Rust tools that the tests need
install-tools *NAMES:
    ./ops/install-tools {{NAMES}}
