"""What happens at time limits; the jobs have been running during all other tests."""

from __future__ import annotations

from tiny_recipe import identical

pytest_plugins = ("private_slurm", "tiny_recipe", "digits_recipe", "long_waits")


def test_a_job_of_slurm_pl_is_noticed_with_its_cause(limited_array):
    limited_array.result(timeout=200)


def test_a_training_saves_is_requeued_and_resumes(limited_training, local):
    recipe, state_after_warning = limited_training
    assert state_after_warning.result(timeout=300) == "stopped (will requeue)"
    recipe.start_again("full")
    recipe.wait("full", "done")
    assert "resuming at epoch" in recipe.log("full")
    assert "DUE TO JOB REQUEUE" in recipe.log("full")
    assert identical(recipe.weights("full"), local.weights("full"))
