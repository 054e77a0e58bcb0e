"""``report.html``: the jobs and pictures of a run as one page."""

from crucible_batch.report.html.cards import Thumbnail, compact, embedded
from crucible_batch.report.html.endings import Advice, ending, same_command
from crucible_batch.report.html.page import (
    PAGE_FILE,
    Cards,
    Frame,
    PageAssets,
    environment,
    head_json,
    make_assets,
    page_of_cards,
    page_pieces,
    report_assets,
    report_scripts,
    report_styles,
    write_page,
)
from crucible_batch.report.html.thumbnails import (
    FOLDER,
    Miniature,
    Pictures,
    Thumbnails,
    miniature_of,
)
