// What jobs are filtered and compared by: the axes of the matrix, columns of the table, and input images.
const MOST_VALUES = 12; // of a column: more are not looked through one by one
const MOST_LETTERS = 80; // of a value: longer ones are prompts and descriptions
const MOST_COLUMNS = 8;
const MOST_PHOTOS = 60;
const EMPTY = '(empty)';

// Names in a template have no dot, so `row.` and `input.` don't collide with axes of the matrix.
function facetsOf(jobs) {
  const taken = new Set(jobs.flatMap((job) => Object.keys(job.axes)));
  const columns = columnsOf(jobs);
  const photos = photosOf(jobs);
  const labels = new Map(columns.map((name) => [`row.${name}`, taken.has(name) ? `row.${name}` : name]));
  for (const param of photos.keys()) labels.set(`input.${param}`, photos.size > 1 ? `input ${param}` : 'input image');
  const of = (job) => {
    const facets = { ...job.axes };
    for (const name of columns) if (Object.hasOwn(job.row, name)) facets[`row.${name}`] = job.row[name] || EMPTY;
    for (const [param, , sha] of job.inputs) if (photos.has(param)) facets[`input.${param}`] = photos.get(param).get(sha);
    return facets;
  };
  return { of, labels, photos };
}

// A column is an axis if it has a few short values, at least one of them in several jobs. The prompt is not.
function columnsOf(jobs) {
  const columns = new Map();
  for (const job of jobs) {
    for (const [name, value] of Object.entries(job.row)) {
      if (!columns.has(name)) columns.set(name, { values: new Set(), jobs: 0, fits: name.toLowerCase() !== 'prompt' });
      const column = columns.get(name);
      if (!column.fits) continue;
      column.jobs += 1;
      column.values.add(value);
      column.fits = column.values.size <= MOST_VALUES && value.length <= MOST_LETTERS && value !== job.prompt && !isInputOf(job, name, value);
    }
  }
  const chosen = [...columns].filter(([, { fits, values, jobs: count }]) => fits && values.size > 1 && values.size < count);
  return chosen.slice(0, MOST_COLUMNS).map(([name]) => name);
}

// Whether a cell is the path or the file name of the job's input image, or its stem in a row of a glob: the image is an
// axis itself.
function isInputOf(job, column, value) {
  return job.inputs.some(([, name]) => value === name || value.endsWith(`/${name}`) || (column === 'stem' && name.startsWith(`${value}.`)));
}

// Image parameters whose images are used by several jobs, with a name for each image by its digest.
function photosOf(jobs) {
  const params = new Map();
  for (const job of jobs) {
    for (const [param, name, sha] of job.inputs) {
      if (!params.has(param)) params.set(param, { names: new Map(), jobs: 0 });
      params.get(param).jobs += 1;
      if (!params.get(param).names.has(sha)) params.get(param).names.set(sha, name);
    }
  }
  const shared = [...params].filter(([, { names, jobs: count }]) => names.size > 1 && names.size < count && names.size <= MOST_PHOTOS);
  return new Map(shared.map(([param, { names }]) => [param, apart(names)]));
}

// Different images may have the same file name: then the beginning of the digest is part of the name.
function apart(names) {
  const all = [...names.values()];
  return new Map([...names].map(([sha, name]) => [sha, all.filter((other) => other === name).length > 1 ? `${name} (${sha.slice(0, 8)})` : name]));
}

// The values of a job in a few words, as its caption. Its source has a line of its own.
function valuesOf(job) {
  const own = job.inputs.filter(([, , sha]) => sha === job.source?.sha256).map(([param]) => `input.${param}`);
  return Object.entries(job.facets).filter(([axis, value]) => value !== EMPTY && !own.includes(axis)).map(([axis, value]) => `${axisLabel(axis)} ${value}`);
}

// The stage of a job, by the title of its entry. The report has the entries of a manifest with stages, and how many jobs
// are above each; while a run adds jobs, those of a stage are known by the pattern of `from`.
function stageNamer(data, named) {
  const entries = data.entries ?? [];
  const titles = entryTitles(entries);
  const hasStages = entries.some(({ sources }) => sources !== undefined && sources !== null) || data.jobs.some(({ source }) => source);
  if (!hasStages) return () => undefined;
  const patterns = entries.map(({ sources }) => (sources ? globbed(sources) : null));
  return (job) => {
    if (!entries.length) return `stage ${originsOf(job, named).length}`;
    let at = entries.findLastIndex(({ before }) => before <= job.index);
    if (job.source && !patterns[at]?.test(job.source.name)) at = patterns.findLastIndex((pattern) => pattern?.test(job.source.name));
    return titles[at] ?? `stage ${originsOf(job, named).length}`;
  };
}

// The names of entries without their templates, unless two entries have the same then.
function entryTitles(entries) {
  const plain = entries.map(({ name }) => name.replace(/\{\{.*?\}\}|\{%.*?%\}/gs, '').replace(/([-_. ])[-_. ]+/g, '$1').replace(/^[-_. ]+|[-_. ]+$/g, '') || name);
  return plain.map((title, at) => (plain.indexOf(title) === plain.lastIndexOf(title) ? title : entries[at].name));
}
