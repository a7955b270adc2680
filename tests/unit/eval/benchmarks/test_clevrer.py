"""CLEVRER's own score and TW-GRPO's recast, on hand-made scenes."""

import pytest

from eval.benchmarks.clevrer import Clevrer


def choice(i, right):
    return {"choice_id": i, "choice": f"event {i}", "answer": "correct" if right else "wrong"}


SCENES = [
    {
        "scene_index": 10000,
        "video_filename": "video_10000.mp4",
        "questions": [
            {"question_id": 0, "question": "What color?", "question_type": "descriptive", "answer": "red"},
            {"question_id": 1, "question": "Which cause?", "question_type": "explanatory", "choices": [choice(i, i in (0, 2)) for i in range(4)]},
            {"question_id": 2, "question": "What next?", "question_type": "predictive", "choices": [choice(0, False), choice(1, True)]},
            {"question_id": 3, "question": "Without it?", "question_type": "counterfactual", "choices": [choice(i, False) for i in range(4)]},
        ],
    }
]
GOLD = {"10000-0": "red", "10000-1": "A,C", "10000-2": "B", "10000-3": "none"}


def rows(**said):
    return [{"id": id.replace("q", "10000-"), "prediction": text} for id, text in said.items()]


def nested(*answers):
    """CLEVRER's own submission layout: judged options by `choice_id`, in any order."""
    questions = [{"question_id": 0, "answer": answers[0]}]
    for number, letters in enumerate(answers[1:], 1):
        count = len(SCENES[0]["questions"][number]["choices"])
        judged = [{"choice_id": i, "answer": "correct" if "ABCD"[i] in letters else "wrong"} for i in reversed(range(count))]
        questions.append({"question_id": number, "choices": judged})
    return [{"scene_index": 10000, "questions": questions}]


def test_gold_is_right_in_both_layouts_and_under_every_protocol(score):
    for protocol, asked in zip(Clevrer.protocols, (4, 2, 2, 3, 3), strict=True):
        for content in ([{"id": id, "prediction": text} for id, text in GOLD.items()], nested("red", "AC", "B", "")):
            report = score(Clevrer(), SCENES, content, protocol)
            assert (report.correct, report.n, report.score) == (asked, asked, 1.0), protocol


def test_one_letter_of_two(score):
    """Predicted {A}, truth {A, C} of four options: three options of four are judged rightly, the question is not; strict 0, soft credit 1/2."""
    said = rows(q0="red", q1="A", q2="B", q3="none")
    official = score(Clevrer(), SCENES, said, "official")
    assert official.breakdown["per_option"]["explanatory"] == {"n": 4, "correct": 3, "score": 0.75}
    assert official.breakdown["per_option"]["all"] == {"n": 10, "correct": 9, "score": 0.9}
    assert official.breakdown["family"]["explanatory"] == {"n": 1, "correct": 0, "score": 0.0}
    assert (official.correct, official.n) == (3, 4)
    assert score(Clevrer(), SCENES, said, "multi_answer").score == 0.5
    assert score(Clevrer(), SCENES, said, "multi_answer_partial").score == 0.75  # (1/2 + 1) / 2


def test_a_superset_earns_nothing(score):
    report = score(Clevrer(), SCENES, rows(q1="A, B, C", q2="A,B"), "multi_answer_partial")
    assert (report.score, report.correct) == (0.0, 0)


def test_questions_without_a_right_option(score):
    """An empty truth met by an empty answer: all four options and the question are right; the recast asks the item only with `_with_empty`."""
    said = rows(q3="none")
    official = score(Clevrer(), SCENES, said, "official")
    assert official.breakdown["per_option"]["counterfactual"] == {"n": 4, "correct": 4, "score": 1.0}
    assert official.breakdown["family"]["counterfactual"]["correct"] == 1
    with pytest.raises(ValueError, match="nothing can be scored"):
        score(Clevrer(), SCENES, said, "multi_answer")
    assert score(Clevrer(), SCENES, said, "multi_answer_with_empty").correct == 1


def test_missing_questions_are_wrong_with_all_their_options(score):
    report = score(Clevrer(), SCENES, rows(q0="red"), "official")
    assert (report.correct, report.n, report.missing) == (1, 4, 3)
    assert report.breakdown["per_option"]["all"] == {"n": 10, "correct": 0, "score": 0.0}


def test_descriptive_answers_match_exactly(score):
    assert score(Clevrer(), SCENES, rows(q0="Red"), "official").correct == 0
    assert score(Clevrer(), SCENES, [{"id": "10000-0", "response": "<think>x</think><answer>red</answer>"}], "official").correct == 1


def test_per_question_never_beats_per_option(score):
    import itertools

    for letters in itertools.chain.from_iterable(itertools.combinations("ABCD", k) for k in range(5)):
        report = score(Clevrer(), SCENES, nested("red", "".join(letters), "B", ""), "official")
        family = report.breakdown["family"]["explanatory"]["score"]
        assert family <= report.breakdown["per_option"]["explanatory"]["score"]


def test_an_option_that_was_not_judged_makes_the_answer_unusable(score):
    content = nested("red", "AC", "B", "")
    content[0]["questions"][1]["choices"][0]["answer"] = "error"
    report = score(Clevrer(), SCENES, content, "official")
    assert [r["reason"] for r in report.rows] == ["ok", "no_answer", "ok", "ok"]
    assert report.breakdown["per_option"]["explanatory"]["correct"] == 0


def test_a_gold_file_without_answers_and_broken_questions_are_named(score):
    broken = [{"scene_index": 1, "questions": [{"question_type": "descriptive"}]}, *SCENES]
    report = score(Clevrer(), broken, rows(q0="red"), "official")
    assert [p.kind for p in report.problems] == ["gold_broken"]


def test_letters_follow_the_choice_ids_and_not_the_file_order(score):
    scene = {"scene_index": 7, "questions": [{**SCENES[0]["questions"][2], "choices": [choice(1, True), choice(0, False)]}]}
    assert score(Clevrer(), [scene], [{"id": "7-2", "prediction": "B"}], "multi_answer").correct == 1
