"""SafetyLock: re-aligning fine-tuned models with per-head activation shifts (arXiv 2410.10343).

Claim: safety directions found once in a base model restore the refusals of its descendants. Read
`lock` (directions of the base model), `leverage` (what each head does), `attack` (descendants that
lost their refusals), `evaluate` (how both are measured), `response` (dose, response and controls),
`choice` (heads and alpha on validation requests), `verdicts` (what is said of a lock in words);
`calls` (what a run asks of the models); then `study`, which runs it all, and `tables`.
"""
