#!/usr/bin/env bash
# Runs the tests with what this machine has. What is missing is installed where that is possible,
# said plainly where it is not, and in CI nothing may be left out.
set -euo pipefail
cd "$(dirname "$0")/.."

chromium=${TAILOR_TEST_CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome || true)}
if [ -z "$chromium" ] && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  echo "Installing Chromium for the browser tests …"
  { apt-get update -qq && apt-get install -y -qq chromium; } >/dev/null 2>&1 || true
  chromium=$(command -v chromium || true)
fi
if [ -z "$chromium" ]; then
  if [ -n "${CI:-}" ]; then
    echo "No Chromium: in CI the browser tests may not be left out." >&2
    exit 1
  fi
  echo "No Chromium found: the browser tests are left out. Install it with: apt-get install chromium" >&2
fi
export TAILOR_TEST_CHROMIUM=$chromium

# Much of a test is waiting, so three test processes with one computing thread each keep both cores
# of a small machine busy.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} TOKENIZERS_PARALLELISM=false
exec .venv/bin/python -m pytest -n "${TAILOR_TEST_PROCESSES:-3}" --dist loadscope "$@"
