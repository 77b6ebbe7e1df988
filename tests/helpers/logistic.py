"""The optimum of one logistic regression, by scikit-learn."""

from sklearn.linear_model import LogisticRegression


def optimum(x, y, C=1.0):
    fit = LogisticRegression(C=C, tol=1e-10, max_iter=10000).fit(x, y)
    return fit.coef_[0], fit.intercept_[0]
