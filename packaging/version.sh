#!/usr/bin/env bash
# Prints the version of a release archive (dist.sh): Cargo.toml's where this commit has the tag of
# that, vN.N.N, or where there is no tag; else what git describes, the last tag with the commits
# since and a hash, and -dirty where files are changed. A tag of another version is refused.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo_version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
# Sources that were unpacked within another project's repository are none of its commits.
if ! git ls-files --error-unmatch Cargo.toml >/dev/null 2>&1; then
  echo "$cargo_version"
  exit
fi
own=v$cargo_version
tags=$(git tag --points-at HEAD --list 'v[0-9]*')
if grep -qxF "$own" <<<"$tags"; then
  # There may be others beside it, of which git would describe any.
  version=$(git describe --tags --match "$own" --dirty)
elif [ -n "$tags" ]; then
  echo "version.sh: found version $cargo_version in Cargo.toml, expected the tag's," \
    "$(sed 's/^v//' <<<"$tags" | xargs)" >&2
  exit 1
else
  version=$(git describe --tags --match 'v[0-9]*' --dirty 2>/dev/null || true)
fi
version=${version#v}
echo "${version:-$cargo_version}"
