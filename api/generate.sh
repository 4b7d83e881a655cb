#!/bin/sh
# Writes api/edgedpb from the .proto files beside this script. The Go generators are those pinned in tools/go.mod;
# protoc comes from the system (Debian: protobuf-compiler, Fedora: protobuf-compiler).
#
#   api/generate.sh            write api/edgedpb anew
#   api/generate.sh --check    exit 1 with a diff if api/edgedpb is stale; exit 0 with "skipped" where there is no protoc
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"

check=no
case "${1-}" in
'') ;;
--check) check=yes ;;
*) echo "usage: api/generate.sh [--check]" >&2; exit 2 ;;
esac

if ! command -v protoc >/dev/null 2>&1; then
	if [ "$check" = yes ]; then
		echo "api/generate.sh: skipped, no protoc on this machine: api/edgedpb was not compared with the .proto files"
		exit 0
	fi
	echo "api/generate.sh: no protoc; install the package protobuf-compiler" >&2
	exit 1
fi

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir "$tmp/bin" "$tmp/out"

go build -C tools -o "$tmp/bin/" google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc

# Run from the root, so that the file names inside the generated code are api/*.proto wherever the tree lies.
protoc -I . \
	--plugin="$tmp/bin/protoc-gen-go" --go_out="$tmp/out" --go_opt=module=edged/api \
	--plugin="$tmp/bin/protoc-gen-go-grpc" --go-grpc_out="$tmp/out" --go-grpc_opt=module=edged/api \
	api/client.proto api/manager.proto

if [ "$check" = no ]; then
	for f in "$tmp"/out/edgedpb/*.go; do
		cp "$f" api/edgedpb/
	done
	exit 0
fi

# The head of a generated file names the protoc that ran. Another protoc writes the same code, so that line is not compared.
mkdir "$tmp/have" "$tmp/want"
for f in api/edgedpb/*.pb.go; do
	sed '/^\/\/ .*protoc  *v[0-9.]*$/d' "$f" >"$tmp/have/$(basename "$f")"
done
for f in "$tmp"/out/edgedpb/*.go; do
	sed '/^\/\/ .*protoc  *v[0-9.]*$/d' "$f" >"$tmp/want/$(basename "$f")"
done
if ! diff -ru "$tmp/have" "$tmp/want"; then
	echo "api/generate.sh: api/edgedpb is stale; run api/generate.sh and commit the result" >&2
	exit 1
fi
echo "api/generate.sh: api/edgedpb is fresh"
