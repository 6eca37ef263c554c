"""What the pages of a store say, for tests of sentences."""

from gradlab.report.data.records import labelled
from gradlab.report.page.build import by_task
from gradlab.report.text.answers import answers, headline, sentences, summary


def answered(records):
    """The answers of the runs of one task."""
    return answers(labelled(records, without=["length"]))


def wording(records):
    """Every sentence of the findings on some runs."""
    measured = [record for record in records if record.marks]
    said = [str(summary(records, measured))]
    for _, series in by_task(labelled(measured, without=["length"])):
        said += [headline(series), *(f"**{one.name}**{one.rest}" for one in sentences(series))]
        said += [text for one in answers(series) for text in (one.question, one.short, one.long)]
    return "\n".join(said)
