"""What tests.helpers.starts imports before it forks: the libraries behind the commands."""

import orster_cli.evaluate.evaluate_cases

import orster_cli.app
import orster_cli.commands.stage
import orster_cli.construct.fit_asset
import orster_cli.inputs.models
import orster_cli.training.build
import orster_cli.training.train_stage  # noqa: F401
