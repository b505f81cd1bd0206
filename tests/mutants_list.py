"""The mutants: what each breaks, and which test has to notice. Used by tests/mutants.py."""

from __future__ import annotations

from dataclasses import dataclass

STORY = "tests/syncjobs/test_convergence.py"
OVERTAKEN = "tests/syncjobs/test_overtaken.py"


@dataclass(frozen=True)
class Mutant:
    """changes: (file, what stands there, what shall instead), each exactly once. quick: tried in CI too."""

    name: str
    changes: tuple[tuple[str, str, str], ...]
    test: str = STORY
    quick: bool = True


def one(name: str, path: str, old: str, new: str, test: str = STORY, quick: bool = True) -> Mutant:
    return Mutant(name, ((path, old, new),), test, quick)


def blind(name: str, call: str) -> Mutant:
    """A call of the Letta store that is made once more, whatever the answer was."""
    path, future = "blocks/stores/letta_writes.py", "from __future__ import annotations\n"
    again = "def blindly(call):\n    try:\n        return call()\n    except Exception:\n        return call()\n"
    return Mutant(name, ((path, call, f"blindly(lambda: {call})"), (path, future, f"{future}\n\n{again}")), OVERTAKEN)


MUTANTS = (
    # --- the journal
    one(
        "no journal: intents are not written",
        "syncjobs/apply.py",
        "        Intent.objects.bulk_create(intents, batch_size=200)\n",
        "",
        quick=False,
    ),
    one(
        "no journal: open intents are not read back",
        "syncjobs/recover.py",
        "        if intents and not side.error:\n",
        "        if False:\n",
    ),
    one(
        "a create is repeated without a look for its mark",
        "syncjobs/recover.py",
        "            seen = seen or _made(intent, by_mark.get(intent.memory.uuid, []))\n",
        "            pass\n",
        quick=False,
    ),
    one(
        "what a dead process sent last is not waited for",
        "syncjobs/recover.py",
        "        time.sleep(UNDER_WAY)\n",
        "        pass\n",
        test="tests/syncjobs/test_torn.py",
        quick=False,
    ),
    one(
        "an answer that got lost counts as a success",
        "syncjobs/apply.py",
        '        if outcome.status == "unclear":  #',
        '        if outcome.status == "unclear":\n'
        '            outcome = Outcome(outcome.write, "done")\n'
        "        if False:  #",
        quick=False,
    ),
    # --- proof
    one(
        "missing means deleted: from a list",
        "syncjobs/observe.py",
        " if external_id in answers and answers[external_id] is None}",
        "}",
    ),
    Mutant(
        "missing means deleted: when the look by id fails",
        (
            (
                "syncjobs/observe.py",
                "        return set(), set(missing), set(), []\n",
                "        return set(missing), set(), set(), []\n",
            ),
            (
                "syncjobs/observation.py",
                "        if side.error:\n            return Seen",
                "        if False:\n            return Seen",
            ),
        ),
        quick=False,
    ),
    one(
        "the brake is off",
        "syncjobs/run.py",
        "        if foresee(self.project, observation, known, approved).brake:\n",
        "        if False:\n",
    ),
    one(
        "what cannot be read counts as read",
        "syncjobs/observe.py",
        "        why = snapshot.problem or unfit(snapshot)\n",
        "        why = unfit(snapshot)\n",
        test="tests/syncjobs/test_run.py",
        quick=False,
    ),
    # --- compare
    one(
        "no compare before a write",
        "syncjobs/apply.py",
        'expected=seen.hash if seen and step.op != "create" else None,',
        "expected=None,",
    ),
    one(
        "what was overtaken is not planned again",
        "syncjobs/apply.py",
        """            work.settled = False
            self.tally.again.add(work.memory.pk)
        elif op == "delete":
""",
        """            self._landed(work, side, outcome)
        elif op == "delete":
""",
        quick=False,
    ),
    one(
        "planned on what was seen before somebody else wrote",
        "syncjobs/planning.py",
        "        if now != {side: link.version for side, link in item.links.items()}:\n",
        "        if False:\n",
        test="tests/syncjobs/test_run.py",
        quick=False,
    ),
    # --- both changed
    one(
        "last writer wins: the side",
        "syncjobs/plan.py",
        "        if value is CLASH:\n            clashes.append(name)\n",
        "        if value is CLASH:\n            merged[name] = view.state[name]\n",
    ),
    one(
        "last writer wins: the hub",
        "syncjobs/plan.py",
        "        if value is CLASH:\n            clashes.append(name)\n",
        "        if value is CLASH:\n            merged[name] = ours[name]\n",
    ),
    one(
        "last writer wins: texts are not merged line by line",
        "syncjobs/merge.py",
        "        return CLASH if base is None else merge_text(base, ours, theirs)\n",
        "        return theirs\n",
        quick=False,
    ),
    one(
        "a deletion beats a change",
        "syncjobs/plan.py",
        "        elif view.base is not None and _same(view.base, result.state) and not result.clashes:\n",
        "        elif view.base is not None:\n",
        quick=False,
    ),
    one(
        "the side's own text is not kept when it is merged",
        "syncjobs/plan.py",
        "    _keep_parts(hub, views, result)\n",
        "",
    ),
    one(
        "what is deleted where it is no longer shared is not kept",
        "syncjobs/plan.py",
        "        result.saved[view.side] = view.state\n",
        "        pass\n",
        quick=False,
    ),
    one(
        "a decision does not keep the side's text",
        "syncjobs/conflicts.py",
        "    theirs = _into_history(conflict, memory)\n",
        "    theirs = ours\n",
        quick=False,
    ),
    one(
        "a conflict that is over takes its text along",
        "syncjobs/intake.py",
        "        going += [(side, state, side, moot) for side, state in self._displaced(work)]\n",
        "",
        quick=False,
    ),
    # --- agents
    one(
        "no stale check: an older copy is taken for a change",
        "syncjobs/agents.py",
        "    if not numbers or (replica",
        "    if True or (replica",
        quick=False,
    ),
    one(
        "no stale check: only the last push is looked at",
        "syncjobs/agents.py",
        "LOOK_BACK = 5 ",
        "LOOK_BACK = 1 ",
        quick=False,
    ),
    one(
        "no stale check: what was found out is judged anew",
        "syncjobs/agents.py",
        "(replica.seen_hash == seen.hash and times <= PUSHES)",
        "False",
        test="tests/syncjobs/test_stale.py",
        quick=False,
    ),
    one(
        "no stale check: only of the text that is nearest",
        "syncjobs/agents.py",
        "    for number in numbers:\n",
        "    for number in numbers[:1]:\n",
        quick=False,
    ),
    one(
        "an older copy is always somebody's wish, where it cannot be found out",
        "syncjobs/agents.py",
        "        del item.seen[side.side]\n        return\n",
        "        return\n",
        test="tests/syncjobs/test_stale.py",
        quick=False,
    ),
    one(
        "agents at work are not waited for",
        "syncjobs/intake.py",
        "                work.waits.add(side.side)\n",
        "                pass\n",
        quick=False,
    ),
    # --- one at a time, and no twins
    one(
        "leases are ignored",
        "syncjobs/leases.py",
        '    return set(Lease.objects.filter(name__in=wanted, holder=holder).values_list("name", flat=True))\n',
        "    return set(wanted)\n",
        quick=False,
    ),
    one(
        "every copy counts as a create of our own",
        "syncjobs/twins.py",
        "    return sent.exists() and not",
        "    return not",
        quick=False,
    ),
    one(
        "no copy counts as a create of our own",
        "syncjobs/twins.py",
        "    return sent.exists() and not",
        "    return False and not",
        test="tests/syncjobs/test_run.py",
        quick=False,
    ),
    # --- Letta's 409
    blind("blind retry on 409: of an update", 'self.calls.call("patch", block_path(write.id), body=body)'),
    blind("blind retry on 409: of a deletion", 'self.calls.call("delete", block_path(write.id))'),
    one(
        "blind retry on 409: by the client",
        "blocks/stores/letta_calls.py",
        "timeout=timeout, max_retries=0, http_client=http",
        "timeout=timeout, max_retries=2, http_client=http",
        OVERTAKEN,
    ),
)
