"""Composited street clips with ground truth: real backgrounds, real cut-outs, drawn light. Seeded, never committed.

footage.py      stages: real backgrounds with the ground on which things may stand
cutouts.py      things and people cut out of real pictures
light.py        what happens to the picture as a whole: dimming, clouds, headlights, infra-red, rain, shake
composition.py  stage + placed things + light -> pictures and true boxes
streets.py ...  recipes: a seed -> a composition and its true events
library.py      recipes -> clips, truth.json and manifest.json
"""
