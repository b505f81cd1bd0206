"""In what the hub, as a Letta server, differs from Letta 0.16.8 on purpose. docs/letta-api.md says every sentence."""

DIFFERENCES = {
    "times": (
        "A block also says `created_at`, `updated_at`, `created_by_id` and `last_updated_by_id`, and has an `ETag`."
    ),
    "slashes": "Addresses work with and without a slash at the end; Letta redirects.",
    "cursors": "A cursor that is not there (any more) is 404, a malformed one 422; Letta begins again at page 1.",
    "before": "`before` alone gives the items right before it; Letta gives the first of all.",
    "ranges": "A number out of range is 422; Letta answers 500, and takes `limit=0` for no limit.",
    "tags": "Tags come back sorted, each once, without blanks at their ends.",
    "labels": "Blocks of any label can be asked for; Letta refuses to look for some that it has.",
    "slash_in_label": "A label with a slash works in `core-memory/blocks/{label}`; Letta answers 404.",
    "label_and_search": "`label` and `label_search` given together must both fit; Letta then looks at `label` alone.",
    "searches": r"`%`, `_` and `\` are themselves in a search; Letta reads them as a pattern.",
    "limits": "A text longer than its limit, a limit below 1 and an empty label are 422; Letta takes them.",
    "sizes": (
        "A text has at most 1,000,000 characters, a label 500, a `kind` in metadata 400, an agent's name 200; a block"
        " at most 20 tags that begin with `memhub:`. More is 422; Letta takes it."
    ),
    "storable": (
        "What some store cannot keep (NUL, half a character, numbers beyond 64 bits) is 422; Letta drops it or fails."
    ),
    "description": "An empty description is null, and a memory without one shows its title.",
    "counts": "`blocks/count` counts what the list would show; Letta also counts hidden blocks and templates.",
    "no_agent_needs_a_model": "An agent needs no model, and any name of one is taken.",
    "missing_blocks": "An agent cannot be given a block that is not there: 404; Letta leaves it out, or fails.",
    "one_label": "An agent cannot be made with two blocks of a label: 409; Letta keeps one of them.",
    "said_nothing": (
        "What was not said is empty: Letta describes `human` and `persona` blocks in words of its own, and says null"
        " for an agent's metadata where the hub says `{}`."
    ),
    "relations": "Agents always come with their blocks and tags; Letta wants `include` for that.",
    "oldest_first": (
        "The blocks of an agent, and blocks listed by how many agents see them, are in the order they were made in;"
        " Letta orders them by id, and repeats some of the latter on the next page."
    ),
    "health": "Health answers at `/health` too, and says version `0.16.8+memoryhub`.",
    "memories": "A memory cannot become hidden, a template, `human` or `persona`: 422. Make a new block.",
    "digest": (
        "The digest block of the project is always there, and computed: it is listed only by its label or"
        " tag and among hidden blocks, what is written into it becomes a memory of its own, deleting it is 409,"
        " and so is giving its label to another block."
    ),
    "no_model": "No model runs: routes for messages, and all that are not listed, are 501; runs are an empty list.",
}

# Tests of the real server that the hub fails, for one of these reasons, by the name of the test with its parameters.
FAILS = {
    "test_a_block_has_no_time_and_no_version": "times",
    "test_an_unknown_cursor_begins_again_at_page_1": "cursors",
    "test_tags_are_matched_exactly_any_or_all": "tags",
    "test_a_label_that_no_query_accepts_can_exist": "labels",
    "test_a_number_beyond_64_bits_is_stored_and_breaks_every_list": "storable",
    "test_nothing_is_enforced": "limits",
    **{
        f"test_what_the_server_says_to_impossible_content[fields{number}-{status}]": "storable"
        for number, status in ((0, 200), (1, 500), (2, 500), (3, 500), (4, 500))
    },
    "test_a_patch_ignores_null_and_replaces_metadata_and_tags_whole": "description",
    "test_overlapping_patches_are_200_or_409": "limits",
    "test_health_is_under_v1": "health",
    # The hub as another hub's Letta server
    "test_a_text_comes_back_exactly[long]": "limits",
    "test_what_a_foreign_block_does_not_say_is_left_out": "tags",
    "test_a_block_that_breaks_the_list_hides_only_itself": "storable",
    "test_an_update_keeps_what_is_foreign": "tags",
    "test_a_deleted_block_comes_back_with_its_agents": "tags",
    "test_probe_of_a_letta_server": "health",
}
