"""Subjects of three rigs, and what these do."""

from __future__ import annotations

from orster_cli.diffusion.starts import Start

SUBJECTS = (
    ("a green frog", "a frog"),
    ("a green mech piloted by a frog", "a green mech", "a mech"),
    ("a blocky green zombie in purple shorts", "a zombie"),
    ("a headless zombie with bare ribs", "a zombie"),
    ("a gray robot walking on two legs", "a robot"),
    ("a man in a black suit holding a pistol", "a man"),
)
RIGS = (0, 1, 2, 2, 1, 2)
STARTS = (
    Start(0, ("jumping and landing", "jumps and lands")),
    Start(0, ("jumping", "jumps")),
    Start(1, ("jumping",)),
    Start(2, ("falling over", "falls over", "dying", "dies")),
    Start(2, ("running and shooting",)),
)
DONE = ((0, 1), (2,), (3, 4), (3, 4), (2,), (3,))  # subject 5 was not seen in start 4
