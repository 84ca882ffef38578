"""Forecast accuracy with defaults: ``python benchmarks/forecast.py SET [--budget 5m] [--seed 1]``.

The first 80 % in time is given to `elman fit`, which holds out its own validation part; the last 20 % is scored once, from every
origin. ``--inner`` scores the last 17.5 % of the first 80 % instead, and never reads the rest: for choosing between defaults.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
from common import data, elman


def bike_sharing() -> pl.DataFrame:
    """Hourly rentals in Washington, 2011-2012, with weather; the task of the project's first goal."""
    return pl.read_csv(data("bike-sharing/hour.csv.gz"), infer_schema=False)


def etth1() -> pl.DataFrame:
    """Hourly oil temperature of a transformer, with six loads."""
    return pl.read_csv(data("ett/ETTh1.csv.gz"), infer_schema=False)


def pm25() -> pl.DataFrame:
    """Hourly PM2.5 in Beijing, with weather; 2,067 values missing."""
    return pl.read_csv(data("weather/beijing_pm25.csv.gz"), infer_schema=False)


def melbourne() -> pl.DataFrame:
    """Daily minimum temperatures."""
    return pl.read_csv(data("weather/daily-min-temperatures.csv"), infer_schema=False)


def co2() -> pl.DataFrame:
    """Weekly CO2 at Mauna Loa, from statsmodels: trend, season, 59 missing weeks."""
    from statsmodels.datasets import co2

    series = co2.load_pandas().data["co2"]
    dates = series.index.strftime("%Y-%m-%d").tolist()
    return pl.DataFrame({"date": dates, "co2": series.to_numpy()}).fill_nan(None)


def elnino() -> pl.DataFrame:
    """Monthly sea surface temperatures, 1950-2010, from statsmodels."""
    from statsmodels.datasets import elnino

    frame = elnino.load_pandas().data
    months = [f"{int(year)}-{month:02d}" for year in frame["YEAR"] for month in range(1, 13)]
    return pl.DataFrame({"month": months, "celsius": frame.iloc[:, 1:].to_numpy().reshape(-1)})


def sunspots() -> pl.DataFrame:
    """Yearly sunspot numbers, 1700-2008, from statsmodels."""
    from statsmodels.datasets import sunspots

    frame = sunspots.load_pandas().data
    return pl.DataFrame({"year": frame["YEAR"].astype(int).to_list(), "sunspots": frame["SUNACTIVITY"].to_numpy()})


WEATHER = "hr,weekday,workingday,holiday,weathersit,temp,atemp,hum,windspeed"
AIR = "DEWP,TEMP,PRES,cbwd,Iws,Is,Ir"
SETS: dict[str, tuple[Callable[[], pl.DataFrame], list[str]]] = {
    "bike-sharing": (bike_sharing, ["--time", "dteday,hr", "--target", "cnt", "--horizon", "24", "--future", WEATHER]),
    "etth1": (etth1, ["--time", "date", "--target", "OT", "--horizon", "24", "--past", "HUFL,HULL,MUFL,MULL,LUFL,LULL"]),
    "pm25": (pm25, ["--time", "year,month,day,hour", "--target", "pm2.5", "--horizon", "24", "--past", AIR]),
    "melbourne": (melbourne, ["--time", "Date", "--target", "Temp", "--horizon", "7"]),
    "co2": (co2, ["--time", "date", "--target", "co2", "--horizon", "8"]),
    "elnino": (elnino, ["--time", "month", "--target", "celsius", "--horizon", "12"]),
    "sunspots": (sunspots, ["--time", "year", "--target", "sunspots", "--horizon", "3"]),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=SETS)
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--inner", action="store_true", help="choose on the inner part; leaves the last 20 %% alone")
    options, more = parser.parse_known_args()
    read, arguments = SETS[options.set]
    frame = read()
    cut = len(frame) * 4 // 5
    old, new = frame[:cut], frame[cut:]
    if options.inner:
        old, new = old[: cut * 33 // 40], old[cut * 33 // 40 :]
    with tempfile.TemporaryDirectory() as folder:
        train, test, run = (Path(folder) / name for name in ("train.csv", "test.csv", "run"))
        old.write_csv(train)
        new.write_csv(test)
        settings = ["--budget", options.budget, "--seed", options.seed, "--out", run, *more]
        fitted = elman("fit", "forecast", train, *arguments, *settings)
        scored = elman("evaluate", run, test)
    mae = scored["metrics"]["mae"]
    print(
        f"\n{options.set}: {scored['count']:,} origins, {fitted['parameters']:,} parameters, {fitted['seconds']:.0f} s"
    )
    print(f"  model              mae {mae['value']:.4g}  ({mae['low']:.4g} to {mae['high']:.4g})")
    for name, values in scored["baselines"].items():
        print(f"  {name:<18} mae {values['mae']:.4g}")
    naive = min(values["mae"] for name, values in scored["baselines"].items() if name.startswith(("seasonal", "last")))
    coverage = scored["metrics"]["coverage"]["value"]
    print(f"  {100 * (1 - mae['value'] / naive):.1f} % below the best naive; the 80 % band covers {coverage:.1%}")


if __name__ == "__main__":
    main()
