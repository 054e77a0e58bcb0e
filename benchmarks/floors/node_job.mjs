// node_job.mjs URL FOLDER NUMBER: one job in a process of its own, as the vendor's CLI does it. Started by xargs -P.
import { writeFile } from "node:fs/promises";
import { basename } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const [url, folder, number] = process.argv.slice(2);
const headers = { Authorization: "Bearer moltazine_benchmark_key_of_the_usual_length", "Content-Type": "application/json" };
const wanted = {
  workflow_id: "zimage-base",
  params: { "prompt.text": `lighthouse ${number}` },
  idempotency_key: `node-${basename(folder)}-${number}`,
};
const submitted = await fetch(`${url}/api/v1/generate`, { method: "POST", headers, body: JSON.stringify(wanted) });
const { job_id } = (await submitted.json()).data;
let job;
do {
  await sleep(50);
  job = (await (await fetch(`${url}/api/v1/jobs/${job_id}`, { headers })).json()).data;
} while (job.status !== "succeeded");
const picture = await fetch(job.outputs[0].url);
await writeFile(`${folder}/${number}.png`, Buffer.from(await picture.arrayBuffer()));
