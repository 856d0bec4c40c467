"""The table of a batch: one row per image, sorted in the browser, filtered here."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from nicegui import events, ui

from covid_monai.app.batch import BatchImage
from covid_monai.app.pictures import data_uri
from covid_monai.app.widgets.parts import reason_of
from covid_monai.app.widgets.status import label, look_of

ANY = "Any"

# Cells are templates of Vue, which shows what it is given as text.
_CELLS = {
    "image": """
        <q-td :props="props"><q-btn flat no-caps padding="2px" class="row-button"
          :aria-label="'Details of ' + props.row.file" @click="$parent.$emit('open', props.row.number)">
          <img v-if="props.row.thumbnail" :src="props.row.thumbnail" alt="" class="thumbnail" />
          <q-icon v-else name="hide_image" class="thumbnail" aria-hidden="true" />
        </q-btn></q-td>""",
    "file": """
        <q-td :props="props"><span class="file-name" :title="props.value">{{ props.value }}</span></q-td>""",
    "outcome": """
        <q-td :props="props"><span :class="'outcome outcome-' + props.row.kind">
          <q-icon :name="props.row.icon" aria-hidden="true" />{{ props.value }}</span></q-td>""",
    "reason": '<q-td :props="props"><div class="reason">{{ props.value }}</div></q-td>',
}

# Quasar sorts by the mouse only; its own class tells by which column.
_HEADER = """
    <q-th :props="props" tabindex="0" @keydown.enter="props.sort(props.col)"
      @keydown.space.prevent="props.sort(props.col)"
      :aria-sort="!/ sorted/.test(props.col.__thClass) ? 'none'
        : / sort-desc/.test(props.col.__thClass) ? 'descending' : 'ascending'">{{ props.col.label }}</q-th>"""


class BatchTable:
    """Rows of the images that are done, as text and select boxes let through.

    Args:
        class_names: One column of probabilities each.
        on_open: Called with the number of the image whose row a visitor opens.
    """

    def __init__(self, class_names: Sequence[str], on_open: Callable[[int], Awaitable[None]]) -> None:
        self._rows: list[dict[str, Any]] = []
        with ui.row().classes("filters"):
            text = ui.input("Search").props("outlined dense clearable type=search")
            self._outcome = _choice("Decision", self._filter)
            self._status = _choice("Status", self._filter)
        self._table = ui.table(
            rows=[],
            columns=_columns(class_names),
            row_key="number",
            pagination={"rowsPerPage": 25},
        ).bind_filter_from(text, "value", backward=lambda value: value or "")
        self._table.props(
            "flat :rows-per-page-options=[10,25,50,0] no-results-label='No image fits the filter'"
        )
        self._table.props("no-data-label='No image yet' binary-state-sort").classes("batch-table")
        self._table.add_slot("header-cell", _HEADER)
        for name, template in _CELLS.items():
            self._table.add_slot(f"body-cell-{name}", template)

        def open_row(event: events.GenericEventArguments) -> Awaitable[None]:
            return on_open(int(event.args))

        self._table.on("open", open_row)

    def show(self, images: Sequence[BatchImage]) -> None:
        """Show images; what the visitor has chosen to see stays."""
        self._rows = [row_of(number, image) for number, image in enumerate(images)]
        for choice, key in ((self._outcome, "outcome"), (self._status, "status")):
            found = sorted({row[key] for row in self._rows})
            choice.set_options([ANY, *found], value=choice.value if choice.value in found else ANY)
        self._filter()

    def _filter(self) -> None:
        wanted = {"outcome": self._outcome.value, "status": self._status.value}
        self._table.rows = [
            row for row in self._rows if all(value in (ANY, row[key]) for key, value in wanted.items())
        ]


def row_of(number: int, image: BatchImage) -> dict[str, Any]:
    """What the table shows of an image.

    Args:
        number: Its place in the batch, from 0.
        image: The image.

    Returns:
        `number`, `thumbnail` (data URI or None), `file`, `outcome` with its `kind` and `icon`, `status`,
        `class_name`, `reason`, and `p_CLASS` for each class that has a probability.
    """
    prediction = image.prediction
    look = look_of(prediction)
    return {
        "number": number,
        "thumbnail": image.thumbnail and data_uri(image.thumbnail),
        "file": prediction.file,
        "outcome": look.words,
        "kind": look.kind,
        "icon": look.icon,
        "status": str(prediction.status),
        "class_name": label(prediction.predicted_class) if prediction.predicted_class else "",
        "reason": reason_of(prediction),
    } | {f"p_{name}": value for name, value in (prediction.probabilities or {}).items()}


def _columns(class_names: Sequence[str]) -> list[dict[str, Any]]:
    def column(name: str, title: str, field: str | None = None, **more: Any) -> dict[str, Any]:
        text = {"name": name, "label": title, "field": field or name, "align": "left", "sortable": True}
        return text | more

    number = {"align": "right", ":format": "value => value == null ? '' : value.toFixed(3)"}
    return [
        column("image", "Image", "number"),
        column("file", "File"),
        column("outcome", "Decision"),
        *(column(f"p_{name}", label(name), **number) for name in class_names),
        column("class_name", "Most probable"),
        column("status", "Status"),
        column("reason", "Reason"),
    ]


def _choice(title: str, on_change: Callable[[], None]) -> ui.select:
    choice = ui.select([ANY], value=ANY, label=title, on_change=lambda: on_change())
    return choice.props("outlined dense options-dense").classes("choice")
