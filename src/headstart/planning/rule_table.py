"""Every constant of the planner's rules in one table, each with its source or the command that fitted it beside it.

A number that is called chosen was fitted to no measurement. Two more tables have files of their own: what gains are
expected of a rung, which a command fits, :mod:`headstart.planning.prior`; and what fine-tuning does where nobody says,
:mod:`headstart.training.finetuning.defaults`. Settings of an algorithm (grids, tolerances, random draws) stay with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from headstart.auditing.centre_crop import LOST

# ---- what the tables below are keyed by --------------------------------------------------------------------------

Measure = Literal["points", "nats"]
"""Accuracy in points (0 to 100), or log-loss in nats; gains of both are above 0 where a rung is better."""
Quality = Literal["fast", "balanced", "best"]
"""How much a gain must be to be worth its cost."""
Reach = Literal["head", "top", "middle", "whole"]
"""How far down a rung trains: only another head, or the top, middle or all thirds of the stages."""

# ---- fixed -------------------------------------------------------------------------------------------------------

# Convex, seconds on any data that fits a laptop, and what every fine-tuning starts from (LP-FT, Kumar et al. 2022).
FIRST: Final = "linear_probe"
# Augmented views of an image in use at a time: the default of fine-tuning's recipe.
VIEWS: Final = 4

# ---- from the fingerprint ----------------------------------------------------------------------------------------

# Images that are decoded for the fingerprint of a fit: their sizes and colours are known well enough from these. With
# so many, a share of all is known to within about 2 points.
FINGERPRINTED: Final = 2000
# Images whose sizes are looked at before any backbone runs: the median of so many is within two hundredths of that of
# all in rank.
SIZES_LOOKED_AT: Final = 500
# Share of the typical image from which on a centre crop cuts too much off: half, of images of 2:1.
# `bench/long_images.py`: from there on squashing costs next to nothing where things lie in the middle, and saves points
# where they lie anywhere.
MOST_CROPPED: Final = LOST
# Images of the most frequent class for one of the least, from which on accuracy says little: of two such classes,
# always naming the larger is right on three of four images.
IMBALANCED: Final = 3.0
# Rows that judge a choice: with 200 of them, a rung that is right on 90 % is known to within 4 points.
ENOUGH_VALIDATION_ROWS: Final = 200
# Five folds train on four fifths and cost five fits; a choice needs no more.
FOLDS: Final = 5
# How often fewer rows than that are dealt into folds. `bench/repeated_folds.py`, 20 to 140 rows of eight sets: against
# one deal, three bring the score 0.6 points closer to the test's (root mean square 4.6 before), and two races choose
# differently in 17 % instead of 24 %; five bring 0.15 points more. 200 rows race in 0.8 to 1.5 s of processor time.
DEALS: Final = 3
# Folds of the nested estimate, outside and inside: it repeats the choice that a fit makes, so it takes as many.
NESTED_FOLDS: Final = FOLDS
# Images of a typical class below which nothing is fine-tuned: a fold would have none left to judge it by.
LEAST_PER_CLASS: Final = FOLDS
# Fewer images a class are called few: the few-shot literature ends at about 20.
FEW_PER_CLASS: Final = 20
# As many and more are called many: with 100 a class the field's guides speak of much data.
MANY_PER_CLASS: Final = 100

# ---- from measurements: how long ---------------------------------------------------------------------------------

# Fewer epochs than this are no fine-tuning: a quarter of the steps is warm-up, and the last quarter has hardly a rate.
LEAST_EPOCHS: Final = 4
# Forecasts of seconds may be 30 % too low. Chosen: in `bench/regret.py` the median one is off by 13 % where a ladder
# runs the rung, and by 21 % where it runs by itself.
TIME_SAFETY: Final = 1.3
# What a fine-tuning takes beside its images and the choice of a precision: the network is traced and copied, two graphs
# are compiled and checked. `bench/regret.py`, its table of forecasts.
FINE_TUNING_STARTUP: Final = 3.0
# Passes of a few rows that the choice of a precision takes in any case. Chosen, by what it does before it times any in
# earnest; the forecasts that `bench/regret.py` judges rest on it.
PRECISION_PASSES: Final = 6
# Such passes that it takes at most besides those and what it times in earnest. Chosen likewise.
MOST_PRECISION_PASSES: Final = 12
# With fewer seconds left no rung could be trained, so none is looked for: a survey takes some, and so does a set-up.
LEAST_CLIMB: Final = 2 * FINE_TUNING_STARTUP
# Seconds that the race of the probes may take whatever the budget: nearly always it needs fewer, and a race that is cut
# short would make small budgets worse for the sake of a second or two. The number is chosen.
PROBING: Final = 15.0
# Seconds that the last fit of a probe may take whatever the budget: of some thousand images and a dozen classes it
# takes less than one, and so it comes out alike however slow the machine. The number is chosen.
REFITTING: Final = 3.0

# ---- the ladder: what counts as much -----------------------------------------------------------------------------

# Half a point is what `fast` promises. In nats: a probe of hymenoptera has a log-loss of 0.12 at 4.5 points of error,
# so that half a point is about 0.015.
FAST_LOSS: Final[Mapping[Measure, float]] = MappingProxyType({"points": 0.5, "nats": 0.015})
# A rung that is tried costs time without being kept for sure, so it must promise half a point to `balanced` as well: in
# `bench/regret_policies.py`, climbs that ask for half of that take nearly a third more time and end no better. `fast`
# asks for twice as much, which hardly costs more points, and `best` for what a thousand test rows could hardly show.
LEAST_FURTHER_GAIN: Final[Mapping[Measure, Mapping[Quality, float]]] = MappingProxyType(
    {
        "points": MappingProxyType({"fast": 1.0, "balanced": 0.5, "best": 0.1}),
        "nats": MappingProxyType({"fast": 0.03, "balanced": 0.015, "best": 0.003}),
    }
)
# Rows that are added to the data of an average and that only the single best rung explains: with fewer real ones than
# these, they have the majority. Weights on the simplex have few degrees of freedom, so some dozens of rows can move
# them. The number is chosen.
ROWS_FOR_THE_SINGLE: Final = 20.0
# A member of an average costs as much at prediction as any other, so one that weighs less than this is left out.
# The number is chosen.
LEAST_WEIGHT: Final = 0.05
# The error rate that the saved abstention rule is fitted for; any other can be asked for at prediction. Chosen: the
# usual 5 %.
ABSTAIN_ERROR: Final = 0.05

# ---- beliefs: before a rung has run ------------------------------------------------------------------------------

# The images at which the prior's table says what a rung gains: about the middle of the sets that it rests on.
REFERENCE_ROWS: Final = 300.0
# The images of a typical class there: likewise.
REFERENCE_ROWS_PER_CLASS: Final = 40.0
# The doublings of the domain gap over SOURCE_LIKE there. `bench/domain_gap.py`: the eight sets have 2.5 on average.
REFERENCE_GAP: Final = 2.5
# Distances from the reference count in doublings, up to so many. Chosen: the smallest samples that the table rests
# on have 20 images, four doublings below it.
MOST_DOUBLINGS: Final = 4.0
# How much of a change of size or domain a rung feels: in the matrix the extremes differ most for those that train most.
# The numbers are chosen; the coefficients that they multiply are fitted.
LEVERAGE: Final[Mapping[Reach, float]] = MappingProxyType({"head": 0.0, "top": 0.5, "middle": 1.0, "whole": 1.5})
# By how many doublings gaps of real sets scatter around the reference: what is not known where none was measured.
# `bench/domain_gap.py`: the eight sets deviate by 1.1.
GAP_SCATTER: Final = 1.2
# A rung can lose where the probe has no error left: the standard deviation in points that always remains. Chosen.
FLOOR_POINTS: Final = 0.1
# The same in nats. Chosen.
FLOOR_NATS: Final = 0.005
# A probe that is not above the most frequent class by more than chance says nothing of the images: labels that do not
# belong to them can't be learnt by any rung. Up to so many standard errors above it there is no belief in gains.
# Chosen; with shuffled labels eight of eight ladders of `bench/regret.py` tried no fine-tuning.
DOUBTED: Final = 1.0
# From so many on there is all of it, and in between a part. Chosen likewise.
BELIEVED: Final = 3.0
# Nor is a probe believed whose calibrated log-loss is no better than that of giving each class its share. Where one
# class has most images, naming it is hard to beat, and a log-loss that is better may be all that a good probe shows: as
# a second chance to pass, it has to be surer, by a standard error. Chosen.
LOSS_DOUBTED: Final = 2.0
# The same where there is all of the belief.
LOSS_BELIEVED: Final = 4.0
# A share of the probe's error means nothing where there is hardly an error: outcomes below so many points are left out
# of a refit. Chosen.
LEAST_ERROR: Final = 1.0
# For how many data sets the table's spread counts, beside the ones that it is refitted to: what was believed of it is a
# guess, worth no more than one. `python bench/regret.py --report --out bench/data/regret.json` has other weights.
SPREAD_COUNTS_FOR: Final = 1.0

# ---- beliefs: once rungs were judged -----------------------------------------------------------------------------

# The spread of paired differences of one row's loss, before any is seen: 0.2 to 0.7 nats (backbones' probes on three
# real sets).
TYPICAL_NATS: Final = 0.45
# Of its correctness: 0.3, which is one row in eleven that only one of two models gets right.
TYPICAL_POINTS: Final = 30.0
# How many rows that knowledge counts for. With five, rungs that agree on all of n rows are taken to disagree on half of
# a row more (Jeffreys' prior for a share says the same), and a single group still has a finite variance.
TYPICAL_COUNTS_FOR: Final = 5.0
# Differences to one probe share its noise: half of it, where both models are equally noisy.
SHARED_NOISE: Final = 0.5
# A gain further from the prior than this many standard deviations shows that the prior does not know this rung: about
# one in twenty is, where it does.
CONFLICT: Final = 2.0

# ---- the race of backbones ---------------------------------------------------------------------------------------

# What the race of the usual backbones may take of the time that is left: a fifth, so that most of it stays for
# fine-tuning. Chosen.
USUAL_SHARE: Final = 0.2
# One that was asked for may take more: half. Chosen.
ASKED_SHARE: Final = 0.5
# With fewer seconds for it, the race of the usual backbones isn't even prepared: two of them need as long to be
# compiled, and to see a few hundred images.
LEAST_RACE: Final = 5.0
# The resolution that the usual backbones race at besides their own. Touvron et al. 2019 found networks to be best on
# images 1.15 to 1.3 times as large as those that they were trained on, where objects look as large as in training.
LARGER: Final = 1.3
# Images of the first rounds at least: with fewer, paired losses of probes differ by chance as much as those of good and
# bad backbones do.
LEAST_RACE_ROWS: Final = 200
# Images that backbones are compared on at most. Paired losses of the bundled backbones' probes differed with deviations
# of 0.2 to 0.7 nats on three real sets, so the mean of so many is known to 0.01 or 0.02; the scores take four seconds
# of them.
MOST_RACE_ROWS: Final = 1000
# So many backbones meet in the last round: the fewest that can be compared.
FINALISTS: Final = 2
# Backbones count as tied where the bootstrap prefers the one with the lower loss in fewer draws than these: odds of
# three to one, below which the other scores are as good a guide.
TIED_BELOW: Final = 0.75
# Seconds before a backbone's first image (its graph is built, compiled and checked). Measured of the bundled ones on
# two cores: 0.7 to 2.2 s.
RACE_STARTUP: Final = 1.5
# Seconds that a probe and the scores take an image. Measured alike, on 250 to 560 images: 1.5 to 2.4 ms.
PROBE_SECONDS: Final = 0.002
# Up to so many classes that is; with 1,000 classes a probe of 1,000 images took 100 s: as many times more as classes.
USUAL_CLASSES: Final = 20

# ---- the domain gap ----------------------------------------------------------------------------------------------

# Images looked at. `python bench/domain_gap.py`: the gap's error is then some 1 to 6 % of it, and two cores take about
# three seconds.
GAP_IMAGES: Final = 192
# The total gap of a sample of the source data itself, ± 0.0005, by
# `bench/domain_gap.py --sets imagenet_sample --images 500`. It is not 0: the running statistics were gathered on
# augmented images, and the sample has every second class.
SOURCE_LIKE: Final = 0.0152
# How many times as far as such a sample images may lie, to fit. A gap grows with the square of the shift of the
# activations, so this is 4 times its gap. Not fitted to data sets on which anything is judged: the next whole number.
FITS: Final = 2.0
# From where on they do not fit at all, 9 times its gap: the whole number after that.
FAR: Final = 3.0
# From so many images on a standard error can be trusted: drawn over again, its mean is within a factor of two of the
# estimates' true spread. Of two images that happen to be alike it would be next to nothing.
LEAST_GAP_IMAGES: Final = 8

# ---- forecasts of accuracy, and the map of the layers ------------------------------------------------------------

# Times the present rows that forecasts are made for. Chosen: whole numbers of a curve's steps, so that its smaller
# sizes can test them.
FACTORS: Final = (2, 4)
# Sizes of a curve at the least: three to fit and, two steps on, one to be tested on.
LEAST_SIZES: Final = 5
# Those to fit: as many as the law has numbers (a level, an exponent, a floor).
LEAST_FITTED: Final = 3
# With fewer rows a class errors are near those of guessing, and fall by another law: on the eight data sets of
# `bench/forecast.py` the curves are straight (in logarithms) down to here, and steeper below.
LEAST_ROWS_A_CLASS: Final = 3
# With fewer mistakes than this there is nothing to see fall. Chosen.
LEAST_MISTAKES: Final = 5
# The forecasts are tested at this many of the largest sizes. Chosen: those nearest to what is foretold.
BACKTESTS: Final = 3
# What is known of learning curves before any point is seen. ``python bench/forecast.py --fit``: of the priors whose
# mean error on eight data sets is within a twentieth of the least, the one that leaves most to the points. Fitted to
# seven of them it served the eighth about as well.
CURVE_PRIOR: Final[Mapping[str, float]] = MappingProxyType(
    {"exponent": 0.3, "exponent_sd": 0.1, "floor_sd": 0.6, "noise": 0.1}
)
# Standard deviation of the logarithm of forecast over truth at each factor: ``python bench/forecast.py``.
TYPICAL_MISS: Final[Mapping[int, float]] = MappingProxyType({2: 0.14, 4: 0.16})
# How many back-tests that knowledge counts for. Chosen: as many as there are at most.
MISS_COUNTS_FOR: Final = 3
# A gain of less than this share of all images is not worth a sentence that says yes. Chosen: one point.
WORTHWHILE: Final = 0.01
# The chance of calling any stage better or worse than another where all are equal: the usual 5 %, shared out among the
# comparisons that are made (Bonferroni).
FALSE_ALARM: Final = 0.05
# Folds are judged until they hold so many rows for the map: what steers nothing may be coarser than the race of the
# probes. A share that is right on 90 % is known to within 2 points.
MAPPED_ROWS: Final = 1000
# The same for the curve, which is fitted at up to eight sizes: to within 3 points.
CURVE_ROWS: Final = 400
# With fewer images of the smallest class, some folds have none to judge it by.
OUTLOOK_PER_CLASS: Final = FOLDS
# With fewer seconds left than these and those of the probes, map and forecast are left out: they steer nothing, and a
# rung may need the time. They take less than the probes did on much data, and up to three seconds on little.
LEAST_OUTLOOK: Final = 10.0
