"""Every constant of the planning rules in one table, each with its source beside it.

What gains are expected of a rung, and when they are large enough, has tables of its own in
:mod:`headstart.planning.prior` and :mod:`headstart.planning.choice`; what fine-tuning does where nobody says, in
:mod:`headstart.training.finetuning.defaults`.
"""

from __future__ import annotations

from typing import Final

from headstart.auditing.centre_crop import LOST

# ---- fixed -------------------------------------------------------------------------------------------------------

# Convex, seconds on any data that fits a laptop, and what every fine-tuning starts from (LP-FT, Kumar et al. 2022).
FIRST: Final = "linear_probe"
# Augmented views of an image in use at a time: the default of fine-tuning's recipe.
VIEWS: Final = 4

# ---- from the fingerprint ----------------------------------------------------------------------------------------

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
# Images of a typical class below which nothing is fine-tuned: a fold would have none left to judge it by.
LEAST_PER_CLASS: Final = FOLDS
# What sizes are called: the few-shot literature ends at about 20 images a class; with 100 and more a class the field's
# guides speak of much data.
FEW_PER_CLASS, MANY_PER_CLASS = 20, 100

# ---- from measurements -------------------------------------------------------------------------------------------

# Fewer epochs than this are no fine-tuning: a quarter of the steps is warm-up, and the last quarter has hardly a rate.
LEAST_EPOCHS: Final = 4
