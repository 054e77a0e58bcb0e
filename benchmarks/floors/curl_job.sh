#!/bin/sh
# curl_job.sh URL FOLDER NUMBER: one job, a curl for each request. Started by xargs -P.
set -eu
url=$1 folder=$2 number=$3
auth='Authorization: Bearer moltazine_benchmark_key_of_the_usual_length'
body="{\"workflow_id\":\"zimage-base\",\"params\":{\"prompt.text\":\"lighthouse $number\"},\"idempotency_key\":\"curl-${folder##*/}-$number\"}"
answer=$(curl -sf -H "$auth" -H 'Content-Type: application/json' -d "$body" "$url/api/v1/generate")
job=${answer#*\"job_id\": \"}
job=${job%%\"*}
while :; do
    sleep 0.05
    answer=$(curl -sf -H "$auth" "$url/api/v1/jobs/$job")
    case $answer in *'"succeeded"'*) break ;; esac
done
link=${answer#*\"url\": \"}
link=${link%%\"*}
curl -sf -o "$folder/$number.png" "$link"
