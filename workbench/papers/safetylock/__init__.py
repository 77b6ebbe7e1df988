"""SafetyLock: re-aligning fine-tuned models with per-head activation shifts (arXiv 2410.10343).

Claim: safety directions found once in a base model restore the refusals of its descendants. Read
`lock` (directions of the base model), `leverage` (what each head does), `tune` (training a copy),
`align` (a base model taught its refusals), `attack` (descendants that lost them), `evaluate` (how
both are measured), `plain` (replies read by the base model), `response` (dose, response and
controls), `choice` (heads and alpha on validation requests), `verdicts` (what is said of a lock in
words); `calls` (what a run asks of the models); then `parts` and `study`, which runs it all, and
`tables`.
"""
