// The charts are drawn already; a job's row opens the job.
function setUpTime() {
  byId('view-time').addEventListener('click', (event) => {
    const link = event.target.closest('a');
    if (!link) return;
    event.preventDefault();
    go({ job: Number(link.getAttribute('href').slice('#job='.length)) }, true);
  });
}
