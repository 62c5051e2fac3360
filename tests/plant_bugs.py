"""Plant known bugs one by one and show that a test catches each.

    python -m tests.plant_bugs                  # every bug: some minutes
    python -m tests.plant_bugs energy gate      # those whose name holds one of these words
    python -m tests.plant_bugs --table          # the table of docs/testing.md

A bug is one replacement in one file, planted in a copy of the tree. Its test has to pass without it and fail with it.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Bug:
    """What is planted, in words and as a replacement, and the test that has to catch it."""

    name: str
    file: str
    right: str
    wrong: str
    test: str


BUGS = (
    Bug(
        "a night judges calibration on its own sealed set alone",
        "rjepa/releases/night.py",
        "_compare_calibration([*earlier, (challenger, current)])",
        "_compare_calibration([(challenger, current)])",
        "tests/releases/test_night.py::test_calibration_is_judged_on_the_problems_of_all_sets_that_the_two_were_tested_on",
    ),
    Bug(
        "a calibration error is not freed of what chance adds",
        "rjepa/evaluation/calibration_rise.py",
        "float(mean @ mean - np.trace(each))",
        "float(mean @ mean)",
        "tests/evaluation/test_calibration_rise.py::test_the_error_of_each_is_found",
    ),
    Bug(
        "a LoRA is served though its base has other weights",
        "rjepa/students/lora/beside.py",
        "if lora.manifest.base_fingerprint != base.fingerprint:",
        "if False:",
        "tests/students/test_beside.py::test_a_lora_of_another_base_is_refused_and_the_base_stays_as_it_is",
    ),
    Bug(
        "a LoRA's part of a product is left out of compiled layers",
        "rjepa/students/native_layers.py",
        "_add_product(found, added[2], added[3], read)",
        "pass",
        "tests/students/test_beside.py::test_it_writes_what_the_model_that_peft_loads_writes",
    ),
    Bug(
        "a LoRA whose numbers are none is served",
        "rjepa/with_lora.py",
        "if not bool(torch.isfinite(one).all()):",
        "if False:",
        "tests/serving/test_loras.py::test_a_lora_that_is_not_whole_is_refused_and_the_old_set_goes_on",
    ),
    Bug(
        "a LoRA at an endpoint is taken away under the answer that it writes",
        "serving/loras.py",
        "if not loaded.retired or loaded.answering or",
        "if not loaded.retired or",
        "tests/serving/test_endpoint_loras.py::test_the_server_keeps_a_lora_until_its_last_answer_has_ended",
    ),
    Bug(
        "text that is held back is lost where a stream goes on with another event",
        "serving/batching.py",
        "        self._tell_pieces(all_of_them=True)\n        self._thread.put(self.queue, (index, event))",
        "        self._pieces.clear()\n        self._thread.put(self.queue, (index, event))",
        "tests/serving/test_batching.py::test_text_that_is_written_fast_goes_out_in_few_pieces_and_in_its_order",
    ),
    Bug(
        "whoever knows the id of a stored item reads another client's words",
        "serving/response_store.py",
        "if named and found and found.owner == owner:",
        "if named and found:",
        "tests/serving/test_responses.py::test_the_store_forgets_the_oldest_and_shows_nobody_else_s",
    ),
    Bug(
        "errors of a LoRA count for its base",
        "serving/models.py",
        "    note_engine(engine.release_id)\n",
        "",
        "tests/serving/test_loras.py::test_answers_and_errors_of_a_lora_count_for_it_and_not_for_the_base",
    ),
    Bug(
        "a place in a session is given away while it is fed",
        "rjepa/students/session.py",
        "busy = {int(row) for batch in self._batches for row in batch.places} if self._free else set()",
        "busy: set[int] = set()",
        "tests/sampling/test_coming_and_going.py::test_a_session_that_is_never_over_holds_no_more_than_its_rows",
    ),
    Bug(
        "compiled attention forgets the token that is fed",
        "rjepa/students/native_layers.py",
        "own = used + 1 - skipped",
        "own = used - skipped",
        "tests/students/test_fused.py::test_the_same_seeds_give_the_same_chains",
    ),
    Bug(
        "a database that is open already is opened again as a file",
        "rjepa/database.py",
        "os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC",
        "os.O_RDWR | os.O_CREAT | os.O_CLOEXEC",
        "tests/test_database.py::test_what_is_written_stays_after_this_process_and_another_opened_and_closed_the_database[sqlite]",
    ),
    Bug(
        "tokens are drawn ahead over the end of a line",
        "rjepa/students/native_passes.py",
        "ended |= watched[row] and ends[token]",
        "ended |= watched[row] and token < 0",
        "tests/students/test_fused.py::test_tokens_drawn_ahead_are_those_that_are_drawn_one_by_one",
    ),
    Bug(
        "a newcomer in the place of a row that is gone reads what that one wrote",
        "rjepa/students/decoding.py",
        "prompts[other.prompt_of], other.free + used - its",
        "prompts[other.prompt_of], other.free",
        "tests/sampling/test_coming_and_going.py::test_who_takes_the_place_of_a_row_that_is_gone_reads_nothing_of_it",
    ),
    Bug(
        "a prompt's tokens read those after them where it is read compiled",
        "rjepa/students/native_prompts.py",
        "scores[token, token + 1 :] = np.float32(0.0)",
        "pass",
        "tests/students/test_fused.py::test_the_same_seeds_give_the_same_chains",
    ),
    Bug(
        "what is drawn after a row's end counts as its",
        "rjepa/students/passes.py",
        "generated = count * int(written.sum()) - int(unused.sum())",
        "generated = count * int(written.sum())",
        "tests/students/test_fused.py::test_a_reader_of_many_rows_sees_the_same_tokens_when_some_come_together",
    ),
    Bug(
        "a session that failed takes newcomers in",
        "rjepa/reasoning/answering.py",
        "if shared is None or shared.has_failed:",
        "if shared is None:",
        "tests/reasoning/test_sharing.py::test_a_pass_that_fails_fails_for_all_who_share_it_and_for_nobody_who_asks_next",
    ),
    Bug(
        "one client may take all the room",
        "serving/fairness.py",
        "_SHARE: Final = 0.75",
        "_SHARE: Final = 2.0",
        "tests/serving/test_limits.py::test_jobs_that_write_run_side_by_side_as_long_as_there_is_room_and_leave_some_for_others",
    ),
    Bug(
        "a test problem that a user asked is learned from",
        "rjepa/feedback/selection.py",
        "    if known.held_out:",
        "    if known.held_out and known.in_parent and known.split == 'test':",
        "tests/feedback/test_snapshot.py::test_a_question_of_a_held_out_split_is_never_learned_from",
    ),
    Bug(
        "what was withdrawn stays in the next version",
        "rjepa/feedback/snapshot.py",
        "gone = {*selection.withdrawn}",
        "gone: set[str] = set()",
        "tests/feedback/test_snapshot.py::test_accepted_interactions_become_the_next_version_and_deleted_ones_leave_it",
    ),
    Bug(
        "a comment is kept without consent",
        "rjepa/feedback/votes.py",
        "if clean is not None and not _is_kept(connection, given.interaction_id):",
        "if clean is None and not connection:",
        "tests/feedback/test_keeping.py::test_a_comment_is_kept_with_consent_alone_and_redacted[sqlite]",
    ),
    Bug(
        "anybody sees and deletes what another gave",
        "rjepa/feedback/records.py",
        "return self.client == other.client and self.end_user in",
        "return self.end_user in",
        "tests/serving/test_feedback.py::test_one_sees_exports_and_deletes_what_is_ones_own",
    ),
    Bug(
        "words that were not given are kept under an answer's id",
        "rjepa/feedback/tickets.py",
        "    if not all(right):",
        "    if not any(right):",
        "tests/serving/test_feedback.py::test_after_a_restart_the_ticket_proves_what_was_given[chat]",
    ),
    Bug(
        "a step's expectation sees the step itself",
        "rjepa/jepa/masks.py",
        "before = torch.ones(size, size, dtype=torch.bool, device=valid.device).tril(-1)",
        "before = torch.ones(size, size, dtype=torch.bool, device=valid.device).tril(0)",
        "tests/jepa/test_expecting.py::test_energies_and_expectations_grow_to_those_of_the_whole_chain",
    ),
    Bug(
        "an expectation that grows asks for the step that it has",
        "rjepa/jepa/expecting.py",
        "predictor.domain(self._domains) + codes[self.segments]",
        "predictor.domain(self._domains) + codes[self.segments - 1]",
        "tests/jepa/test_expecting.py::test_energies_and_expectations_grow_to_those_of_the_whole_chain",
    ),
    Bug(
        "energy counts for a chain, not against it",
        "rjepa/inference/score.py",
        'sign = -1.0 if self.term == "energy" else 1.0',
        "sign = 1.0",
        "tests/inference/test_ranking.py::test_the_score_is_the_sum_of_alpha_beta_and_gamma_terms",
    ),
    Bug(
        "unfamiliar problems are chosen from by R-JEPA",
        "rjepa/inference/calibration.py",
        "chosen=np.where(familiar, with_rjepa.chosen, without.chosen),",
        "chosen=with_rjepa.chosen,",
        "tests/inference/test_familiarity.py::test_foreign_problems_are_chosen_from_without_rjepa_and_the_others_with_it",
    ),
    Bug(
        "P(correct) is told for unfamiliar problems",
        "rjepa/inference/calibration.py",
        "chances = np.where(column, self.p_correct(table), np.nan)",
        "chances = self.p_correct(table)",
        "tests/inference/test_familiarity.py::test_an_unfamiliar_question_is_ranked_without_rjepa_and_says_so",
    ),
    Bug(
        "a candidate without an answer may win",
        "rjepa/inference/voting.py",
        "best = best | ~best.any(axis=-1, keepdims=True)",
        "best = np.ones_like(best)",
        "tests/inference/test_voting.py::test_a_candidate_with_an_answer_beats_a_better_scored_one_without",
    ),
    Bug(
        "asking the gate twice about a night costs twice",
        "rjepa/living/budget.py",
        "        if known is not None:",
        "        if known is None and False:",
        "tests/living/test_budget.py::test_asking_twice_about_the_same_costs_once",
    ),
    Bug(
        "a sealed set that promoted something is used on",
        "rjepa/living/sealed.py",
        "        if each.name in promoted:",
        "        if False:",
        "tests/living/test_sealed.py::test_a_set_that_promoted_something_is_never_asked_again",
    ),
    Bug(
        "a release that was gone back to is looked at, and health flaps",
        "rjepa/living/health.py",
        'or last.action != "promote" or',
        "or",
        "tests/living/test_health.py::test_a_release_that_got_worse_is_taken_back_and_the_history_says_why",
    ),
    Bug(
        "the gate accepts any loss",
        "rjepa/releases/findings.py",
        "margin = LOSS_OVERALL if domain == ALL else LOSS_IN_DOMAIN[rule]",
        "margin = 1.0",
        "tests/releases/test_gate.py::test_a_loss_in_one_domain_is_not_paid_for_by_gains_in_others",
    ),
    Bug(
        "a chain's noise does not know its statement",
        "rjepa/students/noise.py",
        "key = f\"{'fork/' if branches else ''}{seed}/{sample_index}{path}/{statement}\"",
        'key = f"{seed}/{sample_index}{path}"',
        "tests/sampling/test_golden.py",
    ),
    Bug(
        "a half-written file takes the place of the old one",
        "rjepa/files.py",
        "            yield temporary\n            fsync(temporary)\n"
        "            temporary.chmod(0o644)\n            temporary.replace(path)",
        "            temporary.replace(path)\n            yield path",
        "tests/test_files.py::test_a_writer_killed_in_the_middle_leaves_the_old_file",
    ),
    Bug(
        "any key opens the service",
        "serving/auth.py",
        "if self._digest is not None and hmac.compare_digest(given, self._digest):",
        "if self._digest is not None:",
        "tests/serving/test_guards.py::test_a_wrong_key_is_refused_in_the_openai_shape",
    ),
    Bug(
        "a route that nobody thought of is open",
        "serving/access.py",
        '_UNNAMED: Final = Rule("GET", "**", "operator")',
        '_UNNAMED: Final = Rule("GET", "**", None)',
        "tests/serving/test_security.py::test_every_route_asks_for_a_key_whatever_the_method",
    ),
    Bug(
        "a revoked key goes on",
        "rjepa/keys.py",
        "return self.revoked_at_ms is None and (",
        "return (",
        "tests/serving/test_keys.py::test_a_revoked_key_is_refused_within_seconds[sqlite]",
    ),
    Bug(
        "a greedy client is served first",
        "serving/fairness.py",
        "self._lines.move_to_end(client)",
        "self._lines.move_to_end(client, last=False)",
        "tests/serving/test_limits.py::test_clients_take_turns_however_many_questions_one_of_them_has",
    ),
    Bug(
        "who left while waiting is worked for",
        "serving/middleware.py",
        "                left.set()\n                work.cancel()",
        "                pass",
        "tests/serving/test_patience.py::test_who_leaves_while_waiting_is_not_worked_for",
    ),
    Bug(
        "an equal challenger counts as better",
        "rjepa/releases/findings.py",
        "LEVEL_BETTER: Final = 0.025",
        "LEVEL_BETTER: Final = 1.0",
        "tests/releases/test_gate.py::test_an_equal_challenger_replaces_and_does_not_improve",
    ),
    Bug(
        "a fork draws its parent's noise",
        "rjepa/students/session.py",
        "branches=(*parent.branches, Branch(kept, sample_index)),",
        "branches=parent.branches,",
        "tests/sampling/test_forks.py::test_a_fork_writes_what_a_row_that_reads_the_same_beginning_writes",
    ),
    Bug(
        "chains are kept without their sample index",
        "rjepa/latents/freezing.py",
        "return make_key(statement, index, self.way, self._together)",
        "return make_key(statement, self.way, self._together)",
        "tests/latents/test_rollouts.py::test_rollouts_are_the_chains_the_student_samples_with_verdicts",
    ),
    Bug(
        "formulas that differ in their last digits are equal",
        "rjepa/validation/equivalence.py",
        "if here != there:",
        "if abs(here - there) > 1e-60:",
        "tests/validation/test_answer_families.py::test_near_misses_of_a_kind_are_refused",
    ),
    Bug(
        "a right step with a root of a sum is called wrong",
        "rjepa/validation/equations.py",
        'if before.kind == "word" and tokens[start].glued:',
        "if False:",
        "tests/validation/test_equations.py::test_what_cannot_surely_be_read_is_not_called_wrong",
    ),
    Bug(
        "a checkpoint with NaN in it is loaded",
        "rjepa/students/loading.py",
        "check_finite(str(folder), model)",
        "pass",
        "tests/students/test_checkpoints.py::test_weights_that_are_no_numbers_are_refused_by_name",
    ),
    Bug(
        "of a name that stands twice in a JSON object the last value is taken",
        "rjepa/problems/files/lines.py",
        "if len(found) < len(pairs):",
        "if False:",
        "tests/problems/test_foreign_files.py::test_a_name_that_stands_twice_in_an_object_is_refused",
    ),
    Bug(
        "an option that is taken back counts",
        "rjepa/validation/multiple_choice.py",
        "return _DENIAL.match(rest) is not None or _RETRACTION.search(rest) is not None",
        "return False",
        "tests/validation/test_multiple_choice.py::test_no_option_is_chosen_where_two_are_named_or_one_is_taken_back",
    ),
    Bug(
        "transactions of several processes overwrite each other",
        "rjepa/database.py",
        'options = {_WRITING: True} if self.is_sqlite else {"isolation_level": "SERIALIZABLE"}',
        'options = {_WRITING: True} if self.is_sqlite else {"isolation_level": "READ COMMITTED"}',
        "tests/test_database.py::test_transactions_of_several_processes_act_as_if_each_were_alone",
    ),
    Bug(
        "a limit of a minute is taken for a used-up quota",
        "rjepa/teacher/quotas.py",
        "return not soon and not _SHORT_PERIOD.search(text) and",
        "return not soon and",
        "tests/teacher/test_refusals.py::test_a_limit_of_a_minute_is_no_used_up_quota",
    ),
    Bug(
        "a stream shows the beginning of a stop string",
        "rjepa/students/stopping.py",
        "return self._up_to(len(self._text) - self._held() if self.cut is None else self.cut)",
        "return self._up_to(len(self._text) if self.cut is None else self.cut)",
        "tests/sampling/test_rules.py::test_a_text_ends_before_its_stop_string_wherever_tokens_part_it",
    ),
    Bug(
        "log-probabilities are those of the bent logits",
        "rjepa/students/passes.py",
        "self.rules.read(places, ids, batch.logits, written)",
        "self.rules.read(places, ids, 2 * batch.logits, written)",
        "tests/sampling/test_rules.py::test_logprobs_stay_the_students_own_whatever_the_rules",
    ),
    Bug(
        "the echo of a prompt is one token off",
        "rjepa/sampling/reading.py",
        "firsts, rest = [ids[:1] for ids in texts], [ids[1:] for ids in texts]",
        "firsts, rest = [ids[:2] for ids in texts], [ids[2:] for ids in texts]",
        "tests/serving/test_completions.py::test_echo_tells_the_log_likelihood_of_a_prompt",
    ),
    Bug(
        "a token that ends the sequence is left out of log-probabilities",
        "rjepa/students/passes.py",
        "self.rules.read(places, ids, batch.logits, written)",
        "self.rules.read(places, ids, batch.logits, written & [not standings.is_end_of_sequence(int(i)) for i in ids])",
        "tests/sampling/test_rules.py::test_the_token_that_ends_the_sequence_has_a_score_too",
    ),
    Bug(
        "a hidden step is seen when it is predicted",
        "rjepa/verbalizer/infilling.py",
        "unseen[0, list(hidden)] = True",
        "unseen[0, 1] = True",
        "tests/serving/test_latents.py::test_what_is_expected_of_a_hidden_step_does_not_depend_on_it",
    ),
    Bug(
        "a receipt does not compare the choice",
        "rjepa/receipts.py",
        "if expected.chosen_text != found.chosen_text:",
        "if False:",
        "tests/serving/test_receipts.py::test_a_difference_is_named_and_ends_with_3",
    ),
    Bug(
        "what is ignored of a body is not listed",
        "rjepa/values.py",
        "if not any(value is empty or value == empty for empty in _SAYS_NOTHING):",
        "if False:",
        "tests/serving/test_client_bodies.py::test_what_is_unknown_is_ignored_and_listed",
    ),
    Bug(
        "the n best candidates come as they were sampled",
        "serving/replies.py",
        "others = sorted((one for one in answer.candidates if not one.chosen), key=_rank)",
        "others = [one for one in answer.candidates if not one.chosen]",
        "tests/serving/test_client_bodies.py::test_with_rerank_n_gives_the_best_candidates_best_first",
    ),
    Bug(
        "a stored answer is seen by everyone",
        "serving/response_store.py",
        "if found is None or found.owner != owner:",
        "if found is None:",
        "tests/serving/test_responses.py::test_the_store_forgets_the_oldest_and_shows_nobody_else_s",
    ),
    Bug(
        "wrong steps count among the right ones of an energy bar's scale",
        "rjepa/evaluation/evaluating.py",
        "fit_step_quantiles(compared.energies[~compared.is_first_error])",
        "fit_step_quantiles(compared.energies)",
        "tests/evaluation/test_evaluating.py::test_a_step_is_told_by_the_share_of_right_steps_with_less_energy",
    ),
    Bug(
        "a monitor that is out of date rolls back all the same",
        "serving/monitor.py",
        "if current != body.served:",
        "if current is None:",
        "tests/serving/test_monitor.py::test_a_page_that_is_out_of_date_rolls_nothing_back",
    ),
    Bug(
        "energies of a foreign problem are drawn",
        "serving/static/answer.js",
        "energies: familiar ? energies : [],",
        "energies,",
        "tests/e2e/test_chat_page.py::test_an_answer_to_a_foreign_problem_says_so_first_and_draws_no_bars",
    ),
    Bug(
        "guidance weighs as much as the student, whatever alpha says",
        "rjepa/verbalizer/guiding.py",
        "return bias * alpha",
        "return bias",
        "tests/verbalizer/test_guiding.py::test_the_bias_is_exactly_alpha_times_the_clamped_log_probability",
    ),
    Bug(
        "a guide that a session computes bends the label of a step too",
        "rjepa/students/native_guides.py",
        "is_biased[row] = watched[row] and active[place] and begun[place]",
        "is_biased[row] = watched[row] and active[place]",
        "tests/verbalizer/test_guided_session.py::test_a_guide_that_the_session_computes_writes_what_one_that_is_asked_writes",
    ),
    Bug(
        "chains that are read together read each other's room",
        "rjepa/jepa/native_expecting.py",
        "count = counts[row] + 1",
        "count = keys.shape[2]",
        "tests/jepa/test_expecting.py::test_chains_of_other_problems_and_lengths_are_read_together_as_each_alone",
    ),
    Bug(
        "R-JEPA guides on problems that it does not know",
        "rjepa/reasoning/modes/nudge.py",
        'guided = options.unfamiliar == "guide" or tools.knows_problem(candidates.rows[0])',
        "guided = True",
        "tests/reasoning/test_nudge.py::test_on_an_unfamiliar_problem_the_student_writes_alone_and_the_answer_says_so",
    ),
    Bug(
        "a step's first word is spoken with the latent of the step before",
        "rjepa/verbalizer/speaking.py",
        "kept = min(self._fed, len(self.prompt) + max(written - 1, 0))",
        "kept = self._fed",
        "tests/verbalizer/test_decoder.py::test_a_token_at_a_time_gives_the_logits_of_the_whole_chain_at_once",
    ),
    Bug(
        "a decoder that was killed begins its chains anew",
        "rjepa/verbalizer/trainer.py",
        "for update in range(state.update, optim.updates):",
        "for update in range(optim.updates):",
        "tests/verbalizer/test_trainer.py::test_a_killed_training_ends_in_the_same_bits",
    ),
    Bug(
        "a repaired chain is taken though it scores less",
        "rjepa/reasoning/modes/repair.py",
        "best = max(compared, key=lambda one: scores[one])",
        "best = compared[-1]",
        "tests/reasoning/test_repair.py::test_a_surprising_step_is_cut_and_what_stands_before_it_is_kept",
    ),
    Bug(
        "a question spends more than its budget",
        "rjepa/reasoning/tools.py",
        "return self.budget is not None and self._drawn + max(waiting, 1) > self.budget",
        "return self.budget is not None and self._drawn > self.budget + 8",
        "tests/reasoning/test_repair.py::test_no_more_tokens_are_drawn_than_the_budget_has",
    ),
    Bug(
        "chains of problems that R-JEPA does not know are repaired",
        "rjepa/reasoning/modes/repair.py",
        "if not is_familiar(tools, candidates.rows):",
        "if False:",
        "tests/reasoning/test_repair.py::test_what_r_jepa_does_not_know_is_not_repaired",
    ),
    Bug(
        "a night goes on from a release that saw what was withdrawn",
        "rjepa/releases/lineage.py",
        "        if not seen.isdisjoint(withdrawn):",
        "        if seen and withdrawn and False:",
        "tests/living/test_night.py::test_after_a_withdrawal_the_night_goes_on_from_the_last_release_that_never_saw_it",
    ),
    Bug(
        "a batch of a night holds no old chains",
        "rjepa/jepa/replay.py",
        "    return wanted, min(old, round(wanted * share / (1 - share)))",
        "    return wanted, 0",
        "tests/jepa/test_replay.py::test_half_of_every_batch_is_old_and_every_new_chain_comes_once_an_epoch",
    ),
    Bug(
        "a limit is not counted against its window",
        "rjepa/living/limits.py",
        "if one.outcome in _BEGUN and one.began_at_ms > window]",
        "if one.outcome in _BEGUN]",
        "tests/living/test_limits.py::test_so_many_nights_a_window_and_no_more_and_a_window_ends",
    ),
    Bug(
        "Dagster's graph loads torch",
        "rjepa_assets/defs/rehearsal.py",
        "from rjepa.living.defaults import REHEARSED_ANSWERS",
        "from rjepa.living.rehearsal import REHEARSED_ANSWERS",
        "tests/test_house_rules.py::test_dagster_loads_the_graph_without_loading_torch",
    ),
    Bug(
        "the risk dial looks at one domain only",
        "rjepa/inference/risk.py",
        "return max(highest_share(point.wrong, point.answered, level) for point in points)",
        "return min(highest_share(point.wrong, point.answered, level) for point in points)",
        "tests/inference/test_risk.py::test_one_domain_that_errs_more_holds_the_dial_back",
    ),
    Bug(
        "a learning rate above its ceiling is kept",
        "rjepa/living/settings.py",
        "if self.learning_rate > self.learning_rate_ceiling:",
        "if self.learning_rate > LONGEST_RATE:",
        "tests/living/test_settings.py::test_a_wrong_value_changes_nothing_and_says_why",
    ),
    Bug(
        "any key may use the MCP tools",
        "serving/access.py",
        'Rule("POST", "/mcp", "operator"),',
        'Rule("POST", "/mcp", "viewer"),',
        "tests/serving/test_mcp.py::test_http_asks_for_an_operators_key",
    ),
    Bug(
        "the collector grows without bound",
        "serving/quality.py",
        "if len(self._items) + self._being_written < MAX_ITEMS:",
        "if len(self._items) + self._being_written < 2 * MAX_ITEMS:",
        "tests/serving/test_quality.py::test_what_there_is_no_room_for_is_dropped_and_counted",
    ),
    Bug(
        "a release may name another source than its adapter's",
        "rjepa/releases/bundle.py",
        "    if carried != manifest.carried:\n",
        "    if False:\n",
        "tests/adapters/test_carried_release.py::test_a_manifest_that_names_another_source_than_its_adapter_is_refused",
    ),
    Bug(
        "nudge pulls hidden states by the source's poolings",
        "rjepa/jepa/reader.py",
        "poolings = config.use or config.poolings if adapter is None else adapter.poolings",
        "poolings = config.use or config.poolings",
        "tests/adapters/test_carried_release.py::test_hidden_states_are_pulled_in_the_students_own_space",
    ),
    Bug(
        "an adapter's fits are judged on problems that they have seen",
        "rjepa/adapters/choosing.py",
        "matched.of_problems(problems[:-count]), matched.of_problems(problems[-count:])",
        "matched, matched.of_problems(problems[-count:])",
        "tests/adapters/test_choosing.py::test_fits_are_judged_on_problems_that_they_have_not_seen",
    ),
    Bug(
        "chains that two students cut otherwise are taken for pairs",
        "rjepa/adapters/pairs.py",
        "alike = target.lengths[of_target] == source.lengths[of_source]",
        "alike = target.lengths[of_target] > 0",
        "tests/adapters/test_pairs.py::test_chains_that_one_student_lacks_or_cuts_otherwise_are_left_out_and_counted",
    ),
    Bug(
        "a student with a LoRA is taken for its base",
        "rjepa/students/resolving.py",
        'return sha256_json({"base": base_fingerprint, "lora": lora.sha256})',
        "return base_fingerprint",
        "tests/students/test_lora_files.py::test_a_student_with_a_lora_is_another_student",
    ),
    Bug(
        "a LoRA is not verified when it is read",
        "rjepa/students/lora/files.py",
        "if size != entry.size or sha256_file(path) != entry.sha256:",
        "if size != entry.size:",
        "tests/students/test_lora_files.py::test_a_changed_byte_of_a_lora_is_refused",
    ),
    Bug(
        "a LoRA's training shows new chains alone",
        "rjepa/students/lora/corpus.py",
        "replayed = round(recipe.replay.share * size) if self.old else 0",
        "replayed = 0",
        "tests/students/test_lora_training.py::test_a_batch_holds_the_share_of_old_chains_and_every_chain_once_an_epoch",
    ),
)


def main() -> int:
    """Plant what the command line names; the exit code says whether all were caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.plant_bugs")
    parser.add_argument("words", nargs="*", help="plant only bugs whose name holds one of these")
    parser.add_argument("--table", action="store_true", help="print the table of docs/testing.md")
    options = parser.parse_args()
    if options.table:
        print(table())
        return 0
    chosen = [bug for bug in BUGS if not options.words or any(word in bug.name for word in options.words)]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "tree"
        ignored = shutil.ignore_patterns(".git", ".venv*", ".rjepa", "__pycache__", "*_cache")
        shutil.copytree(ROOT, copy, ignore=ignored)
        missed = [bug for bug in chosen if not _is_caught(bug, copy)]
    print(f"{len(chosen) - len(missed)} of {len(chosen)} planted bugs were caught")
    return 1 if missed else 0


def table() -> str:
    """Markdown: one row a bug."""
    rows = [f"| {bug.name} | `{bug.file}` | `{bug.test}` |" for bug in BUGS]
    return "\n".join(["| planted bug | in | caught by |", "|---|---|---|", *rows])


def _is_caught(bug: Bug, tree: Path) -> bool:
    path = tree / bug.file
    source = path.read_text(encoding="utf-8")
    if source.count(bug.right) != 1:
        print(f"STALE   {bug.name}: {bug.file} holds {bug.right!r} {source.count(bug.right)} times")
        return False
    if not _passes(bug.test, tree):
        print(f"BROKEN  {bug.name}: {bug.test} fails without the bug")
        return False
    path.write_text(source.replace(bug.right, bug.wrong), encoding="utf-8")
    try:
        caught = not _passes(bug.test, tree)
    finally:
        path.write_text(source, encoding="utf-8")
    print(f"{'caught' if caught else 'MISSED'}  {bug.name}: {bug.test}", flush=True)
    return caught


def _passes(test: str, tree: Path) -> bool:
    # The copy stands before the installed package; bytecode of one second's edits must not be taken for another's.
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-n0", test]
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
