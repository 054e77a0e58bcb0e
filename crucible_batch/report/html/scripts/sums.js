// The totals of a row or a column of the grid: credits, median time at the gateway, failed jobs.
function sumOf(jobs) {
  const failed = jobs.filter((job) => job.status === 'failed').length;
  const times = jobs.filter((job) => job.status === 'succeeded').map(gatewaySeconds).filter(Boolean).sort((a, b) => a - b);
  const words = [
    failed ? `${failed} failed` : null, credits(totalOf(jobs.map((job) => job.credits))),
    times.length ? `${lasting(times[Math.floor((times.length - 1) / 2)])} each` : null,
  ];
  return el('span', { class: 'sum', title: 'total credits, and median time queued and running' }, words.filter(Boolean).join(' · '));
}

function gatewaySeconds(job) {
  return job.stages.filter(([kind]) => ['queue', 'run', 'gateway'].includes(kind)).reduce((total, [, seconds]) => total + seconds, 0);
}

// The exact sum of decimal texts, as integers of their smallest place.
function totalOf(texts) {
  const places = Math.max(0, ...texts.map((text) => (text.split('.')[1] ?? '').length));
  const total = texts.reduce((sum, text) => {
    const [integer, rest = ''] = text.split('.');
    return sum + BigInt(integer + rest.padEnd(places, '0'));
  }, 0n);
  const digits = String(total).padStart(places + 1, '0');
  const rest = digits.slice(digits.length - places).replace(/0+$/, '');
  return digits.slice(0, digits.length - places) + (places && rest ? `.${rest}` : '');
}
