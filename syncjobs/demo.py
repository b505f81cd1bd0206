"""A small project to look around in: what two agents and a person might remember of a web shop.

It lies between the built-in Letta server and the hub's own store, like any project that is made as proposed.
"""

from __future__ import annotations

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction

from blocks import actions, agents
from blocks.models import Memory
from memoryhub import projects
from memoryhub.forms import check_records_are_free
from memoryhub.models import LocalStore, Project
from syncjobs.connect import bring_in_step

NAME = "Demo shop"
DESCRIPTION = (
    "An example with nothing real in it: look around, change what you like, archive it when you have seen enough."
)
CODER, OPERATOR = "Claude", "deploy-bot"

# title, kind, tags, who wrote it, text
MEMORIES = (
    (
        "Where things are",
        "project_details",
        ["pinned"],
        CODER,
        "# The shop\n\n- `web/`: the storefront, Django and htmx\n- `pay/`: payments, all that talks to the bank\n"
        "- `jobs/`: what runs at night\n\nStaging is deployed from `main`, production by tag.\n",
    ),
    (
        "The basket lost items after signing in",
        "error",
        ["basket", "sessions"],
        CODER,
        "`KeyError: 'basket'` in `web/basket.py` after a visitor signed in.\n\nThe session gets a new key at sign-in, "
        "and the basket was stored under the old one.\n",
    ),
    (
        "Carry the basket over at sign-in",
        "fix",
        ["basket", "sessions"],
        CODER,
        "Read the basket before `login()` and write it back after it. The test is `test_basket_survives_login`.\n",
    ),
    (
        "Prices are integers of cents",
        "decision",
        ["payments"],
        CODER,
        "**Decision**: all amounts are integers of cents, in the database and in the API.\n\n"
        "**Rationale**: two refunds were a cent short, because a float was rounded twice.\n",
    ),
    (
        "The bank's sandbox rejects amounts under 1 €",
        "gotcha",
        ["payments", "tests"],
        OPERATOR,
        "It answers 422 without a reason. Use 100 cents or more in tests of `pay/`.\n",
    ),
    (
        "Roll a release back",
        "deployment_note",
        ["release"],
        OPERATOR,
        "1. `make deploy TAG=<the one before>`\n2. Watch `/healthz` for two minutes\n3. Tell #shop\n",
    ),
    (
        "Meeting of 3 March",
        "meeting_notes",
        ["release"],
        "",
        "- Freeze on Thursday at noon\n- Olga tests refunds by hand\n- The new search waits for the release after\n",
    ),
    (
        "Search index on MySQL",
        "decision",
        ["search"],
        OPERATOR,
        "Full-text search lies on MySQL.\n",
    ),
)
ADDED = "4. If the database was migrated, ask first: some migrations cannot be taken back\n"


@transaction.atomic
def make(owner: User) -> Project:
    """Make a demo project of one's own."""
    project = projects.create(owner, name=NAME, description=DESCRIPTION, local_store=None)
    store = LocalStore.objects.ensure_builtin()
    try:
        check_records_are_free(project, store, project.record_project)
    except ValidationError:
        pass  # another project takes all records there: the demo lies in the hub alone
    else:
        project.local_store = store
        project.save(update_fields=["local_store"])
    made = [_remember(project, owner, *memory) for memory in MEMORIES]
    *_, rollback, _, outdated = made
    actions.edit(rollback, {"text": rollback.text + ADDED}, user=owner, based_on=rollback.number)
    actions.archive([outdated], user=owner)
    said = {"name": OPERATOR, "description": "Deploys the shop and watches it."}
    agents.create(project, said, blocks=[made[0].uuid, rollback.uuid], agent=OPERATOR)
    bring_in_step(project, user=owner)
    return project


def _remember(project: Project, owner: User, title: str, kind: str, tags: list[str], agent: str, text: str) -> Memory:
    state = {"title": title, "kind": kind, "tags": tags, "text": text, "source": agent and f"{agent}'s notes"}
    return actions.create(project, state, user=None if agent else owner, agent=agent)
