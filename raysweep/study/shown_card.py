"""What `raysweep datasets show` says of a set's files, beside its card."""

from pathlib import Path

from raysweep.addresses import shown
from raysweep.errors import RequestError
from raysweep.local_path import local_path
from raysweep.study.tasks import card_folders
from raysweep.tasks.cards import load_card
from raysweep.tasks.contact_sheet import write_contact_sheet
from raysweep.tasks.facts import task_facts
from raysweep.tasks.indexes import indexed_task, keep_prepared, last_prepared
from raysweep.tasks.prepare import licence_accepted


def show_card(name: str, data: Path | None, pictures: Path | None) -> tuple[list[str], list[list[str]]]:
    """Lines to print below the card, and a row for each fact that its files tell.

    data: the folder that the set's own stands in; None: where it was prepared last, and no facts where it never was.
    pictures: a contact sheet to write. Raises RequestError for pictures of a set that is not there, and of one whose
    licence was not accepted.
    """
    card = load_card(name, card_folders(Path.cwd()))
    where = local_path(data, "--data") if data is not None else last_prepared(card)
    lines = []
    if card.licence.restricted:
        accepted = "accepted" if licence_accepted(card) else "not accepted yet: `raysweep datasets prepare` asks for it"
        lines.append(f"licence: {card.licence.name} ({accepted})")
    if where is None:
        if pictures is not None:
            raise RequestError(
                f"--pictures: card {name} was not prepared here; say where its files are as --data FOLDER"
            )
        address = (card.download.page or card.download.files[0].url or "") if card.download else ""
        where_from = f"; to be had from {shown(address)}" if address else ""
        return [*lines, f"its files were not prepared here: --data FOLDER looks at them{where_from}"], []
    if pictures is not None and not licence_accepted(card):
        raise RequestError(
            f"card {name}: its licence ({card.licence.name}) is not accepted yet; read it, then run `raysweep datasets "
            f"prepare {name} --data {where} --accept-licence`"
        )
    task = indexed_task(card, where)
    keep_prepared(card, where)
    if pictures is not None:
        count = write_contact_sheet(task, local_path(pictures, "--pictures"))
        lines.append(f"{count} examples: {pictures}")
    return lines, [[what, said] for what, said in task_facts(task)]
