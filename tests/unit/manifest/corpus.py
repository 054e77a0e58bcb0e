"""Manifests that mean harm, by name: what must be refused, and what may be anything but the end of
the process.

Made, not kept: each evil value stands in each place where an author may put one, each evil template
in each field that is rendered. ``FILES`` are those that have to lie beside them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

HEAD = "version: 1\nname: t\nworkflow: z\n"
JOB = HEAD + "jobs:\n  - name: a\n"
FILES = {
    "t.csv": "n,x\n" + "".join(f"{n},b{n}\n" for n in range(20)),
    "p.txt": "hello {{ brand }}",
    "rows.jsonl": "".join(f'{{"n": {n}}}\n' for n in range(20)),
}

SOUND = b"""# A manifest with all there is, for mutants to be made of
version: 1
name: spring
workflow: z
params: {size.width: 1024, negative: "no hats, 12:30"}
workflows:
  q: {params: {sampler.steps: 20}, fields: {prompt: p.text, image: i.image}}
budget: {credits: 250, max_credits_per_job: "4.50"}
vars: {brand: Acme, list: [1, two, 3.5], deep: {a: {b: c}}}
matrix: {style: [noir, "old film"]}
jobs:
  - name: hero
    prompt: "A {{ style }} portrait, {{ brand }} {{ list | join('-') }} {{ deep.a.b | upper }}"
    params: &shared {seed: 7, flag: true}
    repeat: 2
  - name: "sku-{{ row.n }}-{{ row.x }}"
    foreach: t.csv
    matrix: {}
    prompt: '@p.txt'
    params: {seed: "{{ row.n | int + 1 }}", size.height: 768}
  - {name: third, prompt: "{% for i in range(3) %}{{ i }}{% endfor %}",
     params: *shared, matrix: {}, zip: {u: [1, 2], v: [a, b]}}
  - name: rows
    foreach: rows.jsonl
    matrix: {s: [a, b]}
    workflow: q
    prompt: >-
      folded {{ s }}
      text {{ repeat }}
output: {path: "{workflow}/{name}-{index}{ext}"}
retry: {attempts: 5, never: [NSFW]}
assets: {cleanup: on_success}
provenance: {sidecar: false, embed: true}
duplicates: each
"""

_HEADER_KEYS = [
    "version", "name", "workflow", "params", "workflows", "budget", "vars", "matrix", "output",
    "retry", "assets", "provenance", "duplicates", "jobs", "nonsense",
]  # fmt: skip
_JOB_KEYS = [
    "name", "prompt", "image", "images", "workflow", "params", "matrix", "zip", "foreach", "repeat",
    "fields", "nonsense",
]  # fmt: skip
_VALUES = {
    "nan": ".nan", "infinity": "-.inf", "too large": "1e400",
    "long integer": "9" * 5000, "negative": "-1",
    "zero": "0", "huge": "99999999999999999999", "float": "1.5", "octal": "010", "time": "12:30",
    "switch": "no", "null": "~", "empty": "''", "list": "[]", "mapping": "{}", "nested": "[[[[]]]]",
    "deep": "[" * 39 + "]" * 39, "too deep": "{a: " * 60 + "1" + "}" * 60,
    "alias of nothing": "*gone", "itself": "&a [*a]",
    "python": "!!python/object/apply:os.system ['touch pwned']",
    "python name": "!!python/name:os.environ", "binary": "!!binary aGVsbG8=",
    "timestamp": "!!timestamp 2001-01-01", "surrogate": '"\\ud800"', "nul": '"a\\0b"',
    "escape": '"\\e[31m"', "bidi": '"\\u202e"', "template unquoted": "{{ x }}",
    "template": "'{{ x }}'", "statement": "'{% for i in range(9) %}'", "file": "'@/etc/passwd'",
    "proc": "'@/proc/self/environ'", "path": "'../../../../etc/passwd'", "glob": "'/**/*'",
    "device": "/dev/zero", "shell": "'$(id) `id` ${HOME}'", "merge": "{<<: {a: 1}}",
    "twice": "{a: 1, a: 2}", "complex key": "{[a]: b}", "number key": "{1: a}",
    "mapping of lists": "{x: [1, 2], y: []}", "of all kinds": "[1, a, 2.5, true, null, [], {}]",
    "slashes": "a/b\\\\c", "dots": "'..'", "long": "x" * 70_000, "list of nan": "[.nan]",
    "credits": "{credits: 1e999}",
}  # fmt: skip
_TEMPLATES = """
    {{ ''.__class__ }}                              {{ ''.__class__.__mro__ }}
    {{ ().__class__.__base__.__subclasses__() }}    {{ self }}
    {{ self.__init__ }}                             {{ self._TemplateReference__context }}
    {{ cycler }}
    {{ cycler.__init__.__globals__.os }} {{ lipsum() }}
    {{ joiner() }}                                  {{ namespace() }}
    {{ dict(a=1) }}                                 {{ config }}
    {{ request }}                                   {{ environ }}
    {{ os.environ }}                                {{ MOLTAZINE_API_KEY }}
    {{ __builtins__ }}                              {{ __import__('os') }}
    {{ open('/etc/passwd').read() }}                {{ eval('1') }}
    {{ row.__class__ }}                             {{ brand.__class__ }}
    {{ brand.__init__ }}                            {{ brand['__class__'] }}
    {{ brand | attr('__class__') }}                 {{ brand | attr('upper') }}
    {{ '{0.__class__}'.format(brand) }}             {{ '{x}'.format_map({}) }}
    {{ brand.encode() }}                            {{ brand | pprint }}
    {{ brand | xmlattr }}                           {{ brand | random }}
    {{ brand | urlize }}                            {{ brand | filesizeformat }}
    {{ brand | tojson | safe }}                     {{ 9 ** 999 }}
    {{ 2 ** 4096 }}                                 {{ 'a' * 9 ** 9 }}
    {{ [0] * 9 ** 9 }}                              {{ range(10 ** 9) | list }}
    {{ range(99999) | join }}                       {{ 1 / 0 }}
    {{ 1 % 0 }}                                     {{ brand % brand }}
    {{ '%999999999d' | format(1) }}                 {{ '%*d' | format(9, 1) }}
    {{ brand | indent(999999) }}                    {{ brand | center(999999999) }}
    {{ brand.center(9999999) }}                     {{ brand.zfill(99999999) }}
    {{ brand.ljust(99999999) }}                     {{ brand.expandtabs(9999999) }}
    {{ brand.join(brand) }}                         {{ brand.replace('', 'x') }}
    {{ brand.translate({}) }}                       {{ brand | batch(0) }}
    {{ [1, 2].append(3) }}                          {{ {'a': 1}.update({}) }}
    {{ {'a': 1}.pop('a') }}                         {{ loop }}
    {{ super() }}                                   {{ caller() }}
    {{ varargs }}                                   {{ kwargs }}
    {{ nothing.at.all }}                            {{ gone[0] }}
    {{ brand.gone }}                                {{ brand.gone() }}
    {{                                              {{ }}
    {{ 'x }}                                        {{ x | nofilter }}
    {{ x is notest }}                               {{ ((((((((( }}
    {% include '/etc/passwd' %}                     {% import 'os' as os %}
    {% from 'os' import environ %}                  {% extends 'x' %}
    {% block a %}{% endblock %}                     {% macro a() %}{{ a() }}{% endmacro %}{{ a() }}
    {% call x() %}{% endcall %}
    {% filter upper %}x{% endfilter %}  {% set x.y = 1 %}
    {% for a in b recursive %}{% endfor %} {% do x %}
    {% autoescape true %}{% endautoescape %}        {% if %}
    {% for %}                                       {% endif %}
    {% with a = 1 %}{% endwith %}                   {% trans %}x{% endtrans %}
    {% debug %}
    {% for i in range(9999) %}{% for j in range(9999) %}x{% endfor %}{% endfor %}
    {% set x = brand %}{% for i in range(99) %}{% set x = x ~ x %}{% endfor %}{{ x }}{{ gone }}
"""
_RENDERED = {
    "name": "name: {}",
    "prompt": "name: a\n    prompt: {}",
    "image": "name: a\n    image: {}",
    "workflow": "name: a\n    workflow: {}",
    "parameter": "name: a\n    params: {{x: {}}}",
    "deep parameter": "name: a\n    params: {{x: [{{y: {}}}]}}",
    "foreach": "name: a\n    foreach: {}",
    "of a row": "name: 'a{{{{ row.n }}}}'\n    foreach: t.csv\n    prompt: {}",
}
_PATHS = [
    "/etc/passwd", "/etc/shadow", "/root/.ssh/id_rsa", "../t.csv", "../../etc/hostname",
    "/proc/self/environ", "/proc/self/mem", "/dev/zero", "/dev/stdin", "/dev/fd/0",
    "/sys/kernel/notes", "gone.png", ".", "..", "/", "a\\0b", "file:///etc/passwd",
    "http://127.0.0.1/x.png", "\\\\\\\\host\\\\share", "~/.netrc", "$HOME/.netrc", "t.csv/../../x",
    "x" * 5000, "./" * 2000 + "x",
]  # fmt: skip
_NAMES = [
    "/",
    "a/b",
    "..",
    ".",
    "\\\\",
    "a\\0",
    "",
    " ",
    "../" * 100,
    "/etc/cron.d/x",
    "a\\\\..\\\\b",
]


def refused() -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each manifest that must not be taken."""
    for name, text in _broken_yaml():
        yield f"yaml: {name}", text.encode("utf-8", "surrogateescape")
    for number, expression in enumerate(_templates()):
        for where, entry in _RENDERED.items():
            quoted = "'" + expression.replace("'", "''") + "'"
            text = f"{HEAD}vars: {{brand: Acme}}\njobs:\n  - {entry.format(quoted)}\n"
            yield f"template {number} as {where}", text.encode()
    for number, path in enumerate(_PATHS):
        for key, value in (
            ("image", f'"{path}"'),
            ("images", f'{{m: "{path}"}}'),
            ("prompt", f'"@{path}"'),
        ):
            yield f"path {number} as {key}", f"{JOB}    {key}: {value}\n".encode()
        yield f"path {number} as foreach", f'{JOB}    foreach: "{path}.csv"\n'.encode()
        yield f"path {number} as a glob", f'{JOB}    foreach: "{path}/gone*"\n'.encode()
    for number, name in enumerate(_NAMES):
        yield f"name {number}", f'{HEAD}jobs: [{{name: "{name}"}}]\n'.encode()
        yield (
            f"rendered name {number}",
            f'{HEAD}vars: {{x: "{name}"}}\njobs: [{{name: "{{{{ x }}}}"}}]\n'.encode(),
        )


def any_outcome() -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each manifest, which may be taken or refused and nothing else."""
    for what, value in _VALUES.items():
        for key in _HEADER_KEYS:
            rest = "".join(
                line + "\n" for line in HEAD.splitlines() if not line.startswith(f"{key}:")
            )
            jobs = "" if key == "jobs" else "jobs: [{name: a, prompt: p}]\n"
            yield f"{what} as {key}", f"{rest}{key}: {value}\n{jobs}".encode()
            yield (
                f"{what} within {key}",
                f"{rest}{key}: {{x: {value}, path: {value}}}\n{jobs}".encode(),
            )
        for key in _JOB_KEYS:
            name = "" if key == "name" else "name: a, "
            yield f"{what} as {key} of a job", f"{HEAD}jobs: [{{{name}{key}: {value}}}]\n".encode()
            yield (
                f"{what} within {key} of a job",
                f"{HEAD}jobs: [{{{name}{key}: {{x: {value}}}}}]\n".encode(),
            )


def mutated(content: bytes, seed: int) -> bytes:
    """Return ``content`` with a few bytes changed, cut, doubled or moved; the same for the same
    seed."""
    chance, data = random.Random(seed), bytearray(content)
    for _ in range(chance.randint(1, 6)):
        at, end = sorted(chance.randrange(len(data) + 1) for _ in range(2))
        piece = data[at : min(end, at + 40)]
        match chance.randrange(6):
            case 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                del data[at : at + len(piece)]
            case 2:
                data[at:at] = piece * chance.choice([1, 2, 50])
            case 3:
                data[at:at] = chance.choice(_PIECES)
            case 4:
                other = chance.randrange(len(data) + 1)
                data[other:other] = piece
            case _:
                data[at:at] = str(chance.choice([0, -1, 2**63, 10**30, 1e308])).encode()
    return bytes(data)


_PIECES = [
    piece.encode()
    for piece in (
        "{{ ", " }}", "{% ", " %}", "{#", "&a ", "*a", "<<: ", "!!str ", "- ", ": ", "? ", "\n",
        "\t", "  ", "'", '"', "|", ">", "[", "]", "{", "}", ",", "#", "@", "%YAML 1.2\n", "\n---\n",
        "\n...\n", "~", ".nan", "0x", "1e9", "\\u0000", "\u2028", "\ufeff", "\u202e", "row",
        "repeat", "jobs:", "name: ", "foreach: t.csv", "matrix: ",
    )
]  # fmt: skip


def _templates() -> Iterator[str]:
    for line in _TEMPLATES.strip().splitlines():
        yield from (part.strip() for part in line.split("   ") if part.strip())


def _broken_yaml() -> Iterator[tuple[str, str]]:
    many = 20_000
    yield "nothing", ""
    yield "comments", "# a\n" * many
    yield "breaks", "\n" * 100_000
    yield "documents", "---\n" * many
    yield "directives", "%YAML 1.2\n" * many
    yield "open lists", HEAD + "jobs: " + "[" * 100_000
    yield "open mappings", HEAD + "jobs: " + "{a: " * 50_000
    yield "open quote", HEAD + "jobs: '" + "x" * 1_000_000
    yield "question marks", HEAD + "? " * many
    yield "dashes", "- " * 50_000
    yield (
        "anchors",
        HEAD
        + "vars: {x: ["
        + ",".join(f"&a{n} x" for n in range(150_000))
        + "]}\njobs: [{name: a}]",
    )
    yield (
        "aliases",
        JOB + "vars: {a: &a [" + "x," * 1000 + "]}\nparams: {p: [" + "*a," * many + "]}",
    )
    yield "anchored jobs", HEAD + "jobs: &j [{name: a, params: {x: *j}}]"
    yield "alias of all jobs", HEAD + "jobs: &j [{name: a}]\nvars: {x: *j}\nparams: *j"
    yield (
        "laughs",
        HEAD
        + "x0: &x0 [lol]\n"
        + "".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]\n" for n in range(1, 12)),
    )
    yield (
        "quiet laughs",
        HEAD
        + "jobs:\n- &j0 {name: a}\n"
        + "".join(f"- &j{n} [{', '.join([f'*j{n - 1}'] * 10)}]\n" for n in range(1, 12)),
    )
    yield "keys", HEAD + "".join(f"k{n}: 1\n" for n in range(100_000))
    yield (
        "keys of one job",
        HEAD + "jobs: [{" + "".join(f"k{n}: 1, " for n in range(100_000)) + "}]",
    )
    yield "one key", HEAD + "name: a\n" * 100_000
    yield "one key of a job", HEAD + "jobs: [{" + "name: a, " * 100_000 + "}]"
    yield "jobs and jobs", HEAD + "jobs: [{name: a}]\n" * 5000
    yield "empty jobs", HEAD + "jobs: [" + "{}," * 50_000 + "]"
    yield "jobs of nothing", HEAD + "jobs: [" + ",".join(["~"] * 100_000) + "]"
    yield "jobs of lists", HEAD + "jobs: [" + "[]," * 100_000 + "]"
    yield "jobs that are one", HEAD + "jobs: [&a {name: a}" + ", *a" * 90_000 + "]"
    yield "more jobs than may be", JOB + "    repeat: 100001"
    yield "jobs of one name", HEAD + "jobs:\n" + "  - {name: a}\n" * many
    yield "jobs of unknown keys", HEAD + "jobs:\n" + "  - {nmae: a}\n" * many
    yield "bytes of an image", "\x89PNG\r\n\x1a\n" + "".join(map(chr, range(128))) * 10
    yield "a job of too much", HEAD + "jobs: [{name: a, params: {x: [" + "1," * 600_000 + "]}}]"
    yield "a head of too much", HEAD + "vars: {x: [" + "1," * 600_000 + "]}\njobs: [{name: a}]"
    yield "tags", HEAD + "jobs: [" + "!a x, " * many + "]"
    yield "merges", HEAD + "jobs: [" + "{<<: {name: a}}, " * many + "]"
    yield (
        "matrix",
        JOB + "    matrix: {" + ", ".join(f"x{n}: [{'1, ' * 99}1]" for n in range(99)) + "}",
    )
    yield "repeat", JOB + "    repeat: 999999999999"
    yield "both", JOB + "    repeat: 99999\n    matrix: {x: [1, 2, 3]}"
    yield "zip", JOB + "    zip: {x: [" + "1, " * 100_001 + "1]}"
    yield "escapes", HEAD + 'jobs: [{name: "' + "\\u0041" * 100_000 + '\\q"}]'
    yield "control characters", JOB + "    prompt: a\x07b"
    yield "no characters", JOB + "    prompt: \udcff\udcfe"
    yield "utf-16", (HEAD + "jobs: []").encode("utf-16").decode("latin-1")
    yield "credits", JOB + "budget: {credits: '1e99999999'}"
    yield "digits of credits", JOB + "budget: {credits: '" + "9" * 100_000 + "'}"
    yield "output", JOB + "output: {path: '../{name}'}"
    yield "absolute output", JOB + "output: {path: '/etc/{name}'}"
    yield "output of fields", JOB + "output: {path: '" + "{name}/" * 1000 + "'}"
    yield "batches", JOB + "    params: {size.batch_size: 1000}"
