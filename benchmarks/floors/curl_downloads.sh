#!/bin/sh
# curl_downloads.sh URL COUNT AT_ONCE FOLDER: one curl for all of them, then their digests.
set -eu
cd "$4"
i=0
while [ "$i" -lt "$2" ]; do
    printf 'url = %s/files/%s.png\noutput = %s.part\n' "$1" "$i" "$i"
    i=$((i + 1))
done >urls
curl --silent --fail --parallel --parallel-max "$3" --config urls
sha256sum ./*.part >digests
for part in ./*.part; do mv "$part" "${part%.part}.png"; done
