"""Fitted estimators: scikit-learn, XGBoost and LightGBM, as pickles and as joblib files; skops archives."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benign.corpus import Writer, Written


def _data() -> tuple[Any, Any]:
    import numpy as np

    generator = np.random.default_rng(0)
    inputs = generator.random((40, 4))
    return inputs, (inputs[:, 0] + 0.1 * generator.random(40) > 0.5).astype(int)


def _estimators() -> Mapping[str, Any]:
    from sklearn import (
        calibration,
        cluster,
        compose,
        decomposition,
        discriminant_analysis,
        dummy,
        ensemble,
        feature_extraction,
        feature_selection,
        gaussian_process,
        impute,
        isotonic,
        linear_model,
        mixture,
        model_selection,
        multiclass,
        naive_bayes,
        neighbors,
        neural_network,
        pipeline,
        preprocessing,
        svm,
        tree,
    )

    line = linear_model.LogisticRegression
    return {
        "LogisticRegression": line(),
        "LinearRegression": linear_model.LinearRegression(),
        "Ridge": linear_model.Ridge(),
        "Lasso": linear_model.Lasso(),
        "SGDClassifier": linear_model.SGDClassifier(),
        "Perceptron": linear_model.Perceptron(),
        "DecisionTree": tree.DecisionTreeClassifier(max_depth=2),
        "RandomForest": ensemble.RandomForestClassifier(3, max_depth=2),
        "ExtraTrees": ensemble.ExtraTreesRegressor(3, max_depth=2),
        "GradientBoosting": ensemble.GradientBoostingClassifier(n_estimators=3),
        "HistGradientBoosting": ensemble.HistGradientBoostingClassifier(max_iter=2),
        "AdaBoost": ensemble.AdaBoostClassifier(n_estimators=2),
        "Bagging": ensemble.BaggingClassifier(n_estimators=2),
        "IsolationForest": ensemble.IsolationForest(n_estimators=3),
        "Voting": ensemble.VotingClassifier([("a", line()), ("b", naive_bayes.GaussianNB())]),
        "Stacking": ensemble.StackingClassifier([("a", line())], cv=2),
        "FeatureAgglomeration": cluster.FeatureAgglomeration(2),
        "BisectingKMeans": cluster.BisectingKMeans(2),
        "Spline": preprocessing.SplineTransformer(),
        "Threshold": model_selection.TunedThresholdClassifierCV(line()),
        "SVC": svm.SVC(),
        "LinearSVC": svm.LinearSVC(),
        "KNeighbors": neighbors.KNeighborsClassifier(3),
        "KNeighbors with a ball tree": neighbors.KNeighborsClassifier(3, algorithm="ball_tree"),
        "NearestNeighbors": neighbors.NearestNeighbors(n_neighbors=2),
        "GaussianNB": naive_bayes.GaussianNB(),
        "MultinomialNB": naive_bayes.MultinomialNB(),
        "MLP": neural_network.MLPClassifier((3,), max_iter=5),
        "PCA": decomposition.PCA(2),
        "TruncatedSVD": decomposition.TruncatedSVD(2),
        "NMF": decomposition.NMF(2, max_iter=5),
        "KMeans": cluster.KMeans(2, n_init=1),
        "DBSCAN": cluster.DBSCAN(),
        "GaussianMixture": mixture.GaussianMixture(2),
        "GaussianProcess": gaussian_process.GaussianProcessClassifier(),
        "LDA": discriminant_analysis.LinearDiscriminantAnalysis(),
        "Dummy": dummy.DummyClassifier(),
        "Calibrated": calibration.CalibratedClassifierCV(line(), cv=2),
        "OneVsRest": multiclass.OneVsRestClassifier(line()),
        "GridSearch": model_selection.GridSearchCV(line(), {"C": [0.1, 1.0]}, cv=2),
        "StandardScaler": preprocessing.StandardScaler(),
        "MinMaxScaler": preprocessing.MinMaxScaler(),
        "PolynomialFeatures": preprocessing.PolynomialFeatures(2),
        "OneHotEncoder": preprocessing.OneHotEncoder(handle_unknown="ignore"),
        "FunctionTransformer": preprocessing.FunctionTransformer(__import__("numpy").log1p),
        "SimpleImputer": impute.SimpleImputer(),
        "SelectKBest": feature_selection.SelectKBest(k=2),
        "Pipeline": pipeline.make_pipeline(preprocessing.StandardScaler(), decomposition.PCA(2), line()),
        "ColumnTransformer": compose.ColumnTransformer([("s", preprocessing.StandardScaler(), [0, 1])]),
        "Isotonic": isotonic.IsotonicRegression(),
        "Tfidf": feature_extraction.text.TfidfVectorizer(),
        "LabelEncoder": preprocessing.LabelEncoder(),
    }


def _fitted(name: str, estimator: Any) -> Any:
    inputs, target = _data()
    if name == "Tfidf":
        return estimator.fit(["one two", "two three"])
    if name == "LabelEncoder":
        return estimator.fit(["a", "b"])
    if name == "Isotonic":
        return estimator.fit(inputs[:, 0], target)
    return estimator.fit(inputs, target)


def _sklearn(folder: Path) -> Iterator[Written]:
    import joblib

    for name, estimator in _estimators().items():
        fitted = _fitted(name, estimator)
        stem = name.replace(" ", "_")
        (folder / f"{stem}.pkl").write_bytes(pickle.dumps(fitted, 4))
        yield Written(f"{stem}.pkl", name)
        joblib.dump(fitted, folder / f"{stem}.joblib")
        yield Written(f"{stem}.joblib", f"{name}, joblib")


def _joblib(folder: Path) -> Iterator[Written]:
    import joblib
    import numpy as np

    value = {"a": np.arange(6.0), "b": ["x", 1]}
    for suffix, compress in {
        "zlib.joblib": ("zlib", 3),
        "gzip.joblib": ("gzip", 3),
        "bz2.joblib": ("bz2", 3),
        "xz.joblib": ("xz", 3),
        "lzma.joblib": ("lzma", 3),
        "plain.joblib": 0,
    }.items():
        joblib.dump(value, folder / suffix, compress=compress)
        yield Written(suffix, f"joblib {suffix.partition('.')[0]}")


def _xgboost(folder: Path) -> Iterator[Written]:
    import xgboost

    inputs, target = _data()
    for name, kind in {"classifier": xgboost.XGBClassifier, "regressor": xgboost.XGBRegressor}.items():
        model = kind(n_estimators=2, max_depth=2, n_jobs=1).fit(inputs, target)
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(model, 4))
        yield Written(f"{name}.pkl", f"xgboost {name}")
    (folder / "booster.pkl").write_bytes(pickle.dumps(model.get_booster(), 5))
    yield Written("booster.pkl", "xgboost booster")


def _lightgbm(folder: Path) -> Iterator[Written]:
    import lightgbm

    inputs, target = _data()
    for name, kind in {"classifier": lightgbm.LGBMClassifier, "regressor": lightgbm.LGBMRegressor}.items():
        model = kind(n_estimators=2, min_child_samples=2, n_jobs=1, verbose=-1).fit(inputs, target)
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(model, 4))
        yield Written(f"{name}.pkl", f"lightgbm {name}")
    (folder / "booster.pkl").write_bytes(pickle.dumps(model.booster_, 4))
    yield Written("booster.pkl", "lightgbm booster")


def _skops(folder: Path) -> Iterator[Written]:
    import skops.io

    for name in ("LogisticRegression", "Pipeline", "StandardScaler"):
        skops.io.dump(_fitted(name, _estimators()[name]), folder / f"{name}.skops")
        yield Written(f"{name}.skops", "skops")


WRITERS: Mapping[str, Writer] = {
    "sklearn": _sklearn,
    "joblib": _joblib,
    "skops": _skops,
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
}
