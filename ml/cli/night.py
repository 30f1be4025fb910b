"""Steps of the night: shards, predict, publish, reconcile."""

import click

from ml.cli.step import Context, Result, step

day_option = click.option("--day", required=True, help="YYYY-MM-DD")


@step
@day_option
@click.option("--bundle", help="for a backfill: inspect with this bundle instead of the champion")
@click.option("--shadow", help="a challenger, or `waiting`, that scores the same images")
def shards(context: Context, day: str, bundle: str | None, shadow: str | None) -> Result:
    """Deal the day's images into shards and fix the night's bundle."""
    from ml.inference.night import plan_night, warnings_of

    home, line = context.home, context.line
    plan = plan_night(home, line, day, bundle, shadow)
    return {
        "day": day,
        "bundle": plan.bundle,
        "images": plan.images,
        "shards": [
            {"day": day, "shard": number, "images": size} for number, size in enumerate(plan.sizes)
        ],
        "warnings": warnings_of(home, line.name, bundle) if bundle else [],
    }


@step
@day_option
@click.option("--shard", type=int, help="number of the shard, from 0; default: all of them")
@click.option("--bundle", help="inspect with this bundle instead of the night's")
def predict(context: Context, day: str, shard: int | None, bundle: str | None) -> Result:
    """Inspect one shard, or all; a part that cannot be inspected is held for review."""
    from dataclasses import replace

    from ml.bundle import load_bundle
    from ml.inference.batch import predict_shards
    from ml.inference.night import read_plan, warnings_of

    plan = read_plan(context.home, context.line, day)
    if bundle is not None and bundle != plan.bundle:
        # Refused before anything is overwritten. The night's own one, which Airflow names too,
        # was chosen when it began: where it broke since, the parts are held.
        load_bundle(context.home, bundle, context.line.name)
        warnings_of(context.home, context.line.name, bundle)
        plan = replace(plan, bundle=bundle)
    shards = range(len(plan.sizes)) if shard is None else [shard]
    batch, env = context.line.night.batch, context.env
    done = predict_shards(context.home, plan, shards, batch, env.threads, last_try=env.last_try)
    return {
        "day": day,
        "shard": shard,
        "bundle": done.bundle,
        "images": done.images,
        **done.counts,
        "images_per_s": done.images_per_s,
        "stages": {name: stage["images_per_s"] for name, stage in done.stages.items()},
        "binds": done.binds,
    }


@step
@day_option
def speed(context: Context, day: str) -> Result:
    """Say how fast each stage of a night was, and which one the others waited for."""
    from ml.data.day import check_day
    from ml.inference.speed import night_speed

    return {"day": day, **night_speed(context.home, context.line.name, check_day(day))}


@step
@day_option
def shadow(context: Context, day: str) -> Result:
    """Compare what the challenger said of a night with the champion's verdicts."""
    from dataclasses import asdict

    from ml.inference.shadow import compare_shadow

    return {"day": day, **asdict(compare_shadow(context.home, context.line.name, day))}


@step
@day_option
def publish(context: Context, day: str) -> Result:
    """Write the day's documents and ledger entries."""
    from ml.inference.publish import publish as run
    from ml.results import open_results

    store = open_results(context.env, context.home)
    done = run(context.home, store, context.line.name, day)
    return {
        "day": day,
        "documents": done.documents,
        "flagged": done.flagged,
        "written": done.written,
    }


@step
@day_option
def reconcile(context: Context, day: str) -> Result:
    """Check that each planned image has one prediction and the documents say so; name late ones."""
    from ml.inference.reconcile import reconcile as run
    from ml.results import open_results

    store = open_results(context.env, context.home)
    done = run(context.home, store, context.line.name, day)
    return {
        "day": day,
        "images": done.images,
        "predictions": done.predictions,
        "documents": done.documents,
        "equal": True,
        "late": done.late,
        "late_parts": done.late_parts,
        "stray": done.stray,
    }


@step
@day_option
def late(context: Context, day: str) -> Result:
    """Say what of a night is missing, and write an alert; for when its deadline is over."""
    from ml.inference.late import report_late
    from ml.results import open_results

    store = open_results(context.env, context.home)
    missing = report_late(context.home, store, context.line.name, day)
    return {"day": day, "late": bool(missing), "missing": missing}
