#!/usr/bin/env bash
# Is a report PDF/A-3a and PDF/UA-1? Asks veraPDF (from Maven Central; needs Maven and a JDK). check.sh FILE.pdf…
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mvn -q -f "$here/pom.xml" dependency:build-classpath -Dmdep.outputFile="$work/classpath"
for flavour in 3a ua1; do
  java -cp "$(cat "$work/classpath")" "$here/Check.java" "$flavour" "$@" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
done
