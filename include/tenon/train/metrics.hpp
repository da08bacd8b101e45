// Figures that a training loop keeps: running means, accuracy, the confusion matrix of a classifier.
#pragma once

#include <tenon/core/factories.hpp>
#include <tenon/ops/copy.hpp>

#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

namespace tenon::train {

// The weighted mean of what was added; NaN before the first.
class Mean {
public:
    void add(double value, double weight = 1) {
        sum_ += value * weight;
        weight_ += weight;
    }
    double value() const { return weight_ > 0 ? sum_ / weight_ : std::nan(""); }
    double sum() const { return sum_; }
    double weight() const { return weight_; }
    void reset() { sum_ = weight_ = 0; }
    // Goes on from the sum and the weight of another: value() times the weight would be off by a rounding.
    void restore(double sum, double weight) {
        sum_ = sum;
        weight_ = weight;
    }

private:
    double sum_ = 0, weight_ = 0;
};

// The exponential moving average m = decay m + (1 - decay) x, divided by 1 - decay^t: the first values are not pulled to 0.
// Throws ValueError unless 0 <= decay < 1.
class MovingMean {
public:
    explicit MovingMean(double decay = 0.98) : decay_(decay) {
        if (!(decay >= 0 && decay < 1)) fail<ValueError>("MovingMean: decay ", decay, ": expected 0 <= decay < 1");
    }
    void add(double value) {
        sum_ = decay_ * sum_ + (1 - decay_) * value;
        left_ *= decay_;
    }
    double value() const { return left_ < 1 ? sum_ / (1 - left_) : std::nan(""); }

private:
    double decay_, sum_ = 0, left_ = 1;
};

namespace impl_metrics {

// Rows of scores on the host, and the labels beside them; T2 may be any floating type.
template <class T>
struct Scores {
    Tensor<T, 2> scores;
    Tensor<std::int64_t, 1> labels;
    Scores(const char* operation, const Tensor<T, 2>& given, const Tensor<std::int64_t, 1>& wanted)
        : scores(contiguous(given.detach().to(cpu))), labels(contiguous(wanted.to(cpu))) {
        if (scores.shape(0) != labels.shape(0))
            fail<ShapeError>(operation, ": scores ", given.record()->description(), " and ", labels.shape(0), " labels: expected as many rows");
        if (scores.shape(1) < 1) fail<ShapeError>(operation, ": scores ", given.record()->description(), ": expected at least one class");
    }
    long rows() const { return scores.shape(0); }
    long classes() const { return scores.shape(1); }
    const T* row(long i) const { return scores.data() + i * classes(); }
    // How many classes come before the label: larger scores, and equal ones with a smaller index. A NaN at the label is behind all.
    long rank_of_label(const char* operation, long i) const {
        const std::int64_t label = labels.data()[i];
        if (label < 0 || label >= classes()) fail<IndexError>(operation, ": label ", label, " of row ", i, ": expected 0 to ", classes() - 1);
        const T* s = row(i);
        if (s[label] != s[label]) return classes();
        long before = 0;
        for (long c = 0; c < classes(); ++c) before += s[c] > s[label] || (s[c] == s[label] && c < label);
        return before;
    }
    // The largest score, the first of equal ones; NaN is never chosen unless all are.
    long best(long i) const {
        const T* s = row(i);
        long at = 0;
        for (long c = 1; c < classes(); ++c)
            if (s[c] > s[at] || s[at] != s[at]) at = c;
        return at;
    }
};

}  // namespace impl_metrics

// How many rows of scores [n, classes] have their label (0 ... classes - 1) among the k largest. Of equal scores the first
// count as larger. Throws ShapeError where the numbers differ, IndexError for a label out of range.
template <Floating T>
long count_correct(const Tensor<T, 2>& scores, const Tensor<std::int64_t, 1>& labels, long k = 1) {
    if (k < 1) fail<ValueError>("count_correct: k is ", k, ": expected at least 1");
    const impl_metrics::Scores<T> s("count_correct", scores, labels);
    long right = 0;
    for (long i = 0; i < s.rows(); ++i) right += s.rank_of_label("count_correct", i) < k;
    return right;
}

// The part of rows that are right, in [0, 1]; NaN for none.
template <Floating T>
double accuracy(const Tensor<T, 2>& scores, const Tensor<std::int64_t, 1>& labels, long k = 1) {
    const long n = scores.shape(0);
    return n == 0 ? std::nan("") : static_cast<double>(count_correct(scores, labels, k)) / static_cast<double>(n);
}

// Counts of (true class, predicted class). Throws ValueError for less than one class.
class ConfusionMatrix {
public:
    explicit ConfusionMatrix(long classes) : classes_(classes) {
        if (classes < 1) fail<ValueError>("ConfusionMatrix: ", classes, " classes: expected at least 1");
        counts_.assign(static_cast<std::size_t>(classes * classes), 0);
    }
    // Throws IndexError.
    void add(long truth, long predicted) {
        if (truth < 0 || truth >= classes_ || predicted < 0 || predicted >= classes_)
            fail<IndexError>("ConfusionMatrix: class ", truth, " predicted as ", predicted, ": expected 0 to ", classes_ - 1);
        ++counts_[static_cast<std::size_t>(truth * classes_ + predicted)];
    }
    // The largest score of each row [n, classes] against its label. Throws ShapeError, IndexError.
    template <Floating T>
    void add(const Tensor<T, 2>& scores, const Tensor<std::int64_t, 1>& labels) {
        const impl_metrics::Scores<T> s("ConfusionMatrix", scores, labels);
        if (s.classes() != classes_) fail<ShapeError>("ConfusionMatrix: scores ", scores.record()->description(), ": expected ", classes_, " classes on axis 1");
        for (long i = 0; i < s.rows(); ++i) add(s.labels.data()[i], s.best(i));
    }
    long classes() const { return classes_; }
    long count(long truth, long predicted) const { return counts_[static_cast<std::size_t>(truth * classes_ + predicted)]; }
    long total() const { return sum([](long, long) { return true; }); }
    double accuracy() const { return ratio(sum([](long t, long p) { return t == p; }), total()); }
    // Of what was predicted as c, the part that is c; NaN where nothing was.
    double precision(long c) const { return ratio(count(c, c), sum([c](long, long p) { return p == c; })); }
    // Of what is c, the part that was predicted so; NaN where nothing is.
    double recall(long c) const { return ratio(count(c, c), sum([c](long t, long) { return t == c; })); }
    // 2 TP / (2 TP + FP + FN).
    double f1(long c) const { return ratio(2 * count(c, c), sum([c](long, long p) { return p == c; }) + sum([c](long t, long) { return t == c; })); }
    // Intersection over union, TP / (TP + FP + FN).
    double iou(long c) const { return ratio(count(c, c), sum([c](long t, long p) { return t == c || p == c; })); }
    // The mean over the classes that occur, as truth or as prediction.
    double mean_f1() const { return mean([this](long c) { return f1(c); }); }
    double mean_iou() const { return mean([this](long c) { return iou(c); }); }
    double balanced_accuracy() const { return mean([this](long c) { return recall(c); }); }
    void reset() { counts_.assign(counts_.size(), 0); }

    // Rows are true classes, columns predicted ones; names where given.
    std::string text(const std::vector<std::string>& names = {}) const {
        std::size_t width = 6;
        for (const auto& name : names) width = name.size() + 1 > width ? name.size() + 1 : width;
        const auto label = [&](long c) { return c < static_cast<long>(names.size()) ? names[static_cast<std::size_t>(c)] : std::to_string(c); };
        const auto cell = [&](const std::string& t) { return std::string(t.size() < width ? width - t.size() : 1, ' ') + t; };
        std::string all = cell("true");
        for (long p = 0; p < classes_; ++p) all += cell(label(p));
        all += "\n";
        for (long t = 0; t < classes_; ++t) {
            all += cell(label(t));
            for (long p = 0; p < classes_; ++p) all += cell(std::to_string(count(t, p)));
            all += "\n";
        }
        return all;
    }

private:
    template <class F>
    long sum(F wanted) const {
        long all = 0;
        for (long t = 0; t < classes_; ++t)
            for (long p = 0; p < classes_; ++p)
                if (wanted(t, p)) all += count(t, p);
        return all;
    }
    template <class F>
    double mean(F figure) const {
        Mean all;
        for (long c = 0; c < classes_; ++c)
            if (const double v = figure(c); v == v) all.add(v);
        return all.value();
    }
    static double ratio(long part, long whole) { return whole == 0 ? std::nan("") : static_cast<double>(part) / static_cast<double>(whole); }
    long classes_;
    std::vector<long> counts_;
};

}  // namespace tenon::train
