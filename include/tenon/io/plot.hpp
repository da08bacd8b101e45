// Line plots as PNG files: series of points over two axes, with ticks, labels, a legend and, where wanted, a band
// around each line. Needs the stb headers (see png.hpp).
#pragma once

#include <tenon/base/error.hpp>
#include <tenon/io/png.hpp>
#include <tenon/io/stroke_font.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

namespace tenon::io {

struct Colour {
    std::uint8_t r = 0, g = 0, b = 0;
    friend bool operator==(const Colour&, const Colour&) = default;
};

// Distinct also to colour-blind readers (the order of first use in a plot).
inline constexpr Colour plot_colours[] = {{0, 114, 178},   {213, 94, 0},    {0, 158, 115}, {204, 121, 167},
                                          {86, 180, 233},  {230, 159, 0},   {90, 60, 160}, {90, 90, 90}};

// One line of a plot. Points with a coordinate that is not finite (or beyond 1e300) interrupt the line.
struct Series {
    std::string name = {};            // in the legend; empty: none
    std::vector<double> x = {}, y = {};  // of one length
    std::vector<double> spread = {};  // empty, or one half width of the band per point (a standard deviation)
    int colour = -1;                  // index into plot_colours; -1: the next one
    bool dashed = false;              // so that a line below one of the same course can be seen
};

struct PlotOptions {
    std::string title = {}, x_label = {}, y_label = {};
    int width = 1200, height = 760;  // pixels
    bool x_log = false;              // decades on the x axis; points with x <= 0 are left out
    double y_low = std::numeric_limits<double>::quiet_NaN();   // the range of the y axis, NaN: from the data
    double y_high = std::numeric_limits<double>::quiet_NaN();
};

namespace detail {

// A picture in linear steps of 0..1 with a pen: coverage is gathered for a whole line first, then blended once, so that
// joints and crossings within one line do not show.
class Canvas {
public:
    Canvas(int width, int height)
        : width_(width), height_(height), rgb_(static_cast<std::size_t>(3 * width * height), 1.0f),
          coverage_(static_cast<std::size_t>(width * height), 0.0f) {
        unclip();
        forget();
    }

    int width() const { return width_; }
    int height() const { return height_; }
    void clip(double left, double top, double right, double bottom) {
        clip_left_ = std::max(0, static_cast<int>(left)), clip_top_ = std::max(0, static_cast<int>(top));
        clip_right_ = std::min(width_, static_cast<int>(right) + 1), clip_bottom_ = std::min(height_, static_cast<int>(bottom) + 1);
    }
    void unclip() { clip_left_ = clip_top_ = 0, clip_right_ = width_, clip_bottom_ = height_; }

    // A segment with round ends.
    void segment(Point a, Point b, double thick) {
        const double radius = thick / 2, far = radius + 1;
        int x0, x1, y0, y1;
        if (!pixels(std::min(a.x, b.x) - far, std::max(a.x, b.x) + far, clip_left_, clip_right_, x0, x1) ||
            !pixels(std::min(a.y, b.y) - far, std::max(a.y, b.y) + far, clip_top_, clip_bottom_, y0, y1))
            return;
        const double dx = b.x - a.x, dy = b.y - a.y, squared = dx * dx + dy * dy;
        for (int y = y0; y < y1; ++y) {
            // Only the columns that this row of a slanted segment can reach.
            int from = x0, to = x1;
            if (std::abs(dy) > 1e-9 && std::abs(dx) > 1e-9) {
                const double slope = dx / dy, reach = far * (1 + std::abs(slope)) + 1;
                const double middle = a.x + (y + 0.5 - a.y) * slope;
                from = std::max(from, static_cast<int>(std::max(middle - reach, -1.0)));
                to = std::min(to, static_cast<int>(std::min(std::max(middle + reach, -1.0), width_ + 1.0)) + 1);
            }
            for (int x = from; x < to; ++x) {
                const double px = x + 0.5 - a.x, py = y + 0.5 - a.y;
                const double along = squared > 0 ? std::clamp((px * dx + py * dy) / squared, 0.0, 1.0) : 0.0;
                const double distance = std::hypot(px - along * dx, py - along * dy);
                cover(x, y, static_cast<float>(std::clamp(radius + 0.5 - distance, 0.0, 1.0)));
            }
        }
    }
    void polyline(const std::vector<Point>& points, double thick) {
        if (points.size() == 1) segment(points[0], points[0], thick);
        for (std::size_t i = 1; i < points.size(); ++i) segment(points[i - 1], points[i], thick);
    }
    void rectangle(double left, double top, double right, double bottom) {
        int x0, x1, y0, y1;
        if (!pixels(left, right, clip_left_, clip_right_, x0, x1) || !pixels(top, bottom, clip_top_, clip_bottom_, y0, y1)) return;
        for (int y = y0; y < y1; ++y)
            for (int x = x0; x < x1; ++x) {
                const double w = std::min(right, x + 1.0) - std::max(left, x + 0.0), h = std::min(bottom, y + 1.0) - std::max(top, y + 0.0);
                cover(x, y, static_cast<float>(std::clamp(w, 0.0, 1.0) * std::clamp(h, 0.0, 1.0)));
            }
    }
    // The area between two heights at each end of a piece of the x axis.
    void trapezoid(double x0, double low0, double high0, double x1, double low1, double high1) {
        int from, to;
        if (!pixels(x0, x1, clip_left_, clip_right_, from, to)) return;
        for (int x = from; x < to; ++x) {
            const double t = x1 > x0 ? std::clamp((x + 0.5 - x0) / (x1 - x0), 0.0, 1.0) : 0.0;
            double top = low0 + t * (low1 - low0), bottom = high0 + t * (high1 - high0);
            if (top > bottom) std::swap(top, bottom);
            int y0, y1;
            if (!pixels(top, bottom, clip_top_, clip_bottom_, y0, y1)) continue;
            for (int y = y0; y < y1; ++y)
                cover(x, y, static_cast<float>(std::clamp(std::min(bottom, y + 1.0) - std::max(top, y + 0.0), 0.0, 1.0)));
        }
    }
    // Blends what was drawn since the last call.
    void ink(Colour colour, double alpha = 1.0) {
        const float c[3] = {float(colour.r) / 255.0f, float(colour.g) / 255.0f, float(colour.b) / 255.0f};
        for (int y = top_; y < bottom_; ++y)
            for (int x = left_; x < right_; ++x) {
                float& covered = coverage_[at(x, y)];
                const float a = covered * static_cast<float>(alpha);
                covered = 0.0f;
                for (std::size_t k = 0; k < 3; ++k) {
                    float& value = rgb_[3 * at(x, y) + k];
                    value += a * (c[k] - value);
                }
            }
        forget();
    }
    // Text whose capitals are height pixels tall; align 0, 0.5 or 1: x is its left end, its middle or its right end.
    // Turned text reads upwards. Returns the length.
    double text(double x, double y, const std::string& line, double height, double align, Colour colour, bool turned = false,
                double weight = 0.13) {
        double length = 0;
        for (std::vector<Point>& stroke : text_strokes(line, height, &length)) {
            for (Point& p : stroke) {
                const double along = p.x - align * length, up = p.y;
                p = turned ? Point{x - up, y - along} : Point{x + along, y - up};
            }
            polyline(stroke, weight * height);
        }
        ink(colour);
        return length;
    }
    Image image() const {
        Image result{width_, height_, std::vector<std::uint8_t>(rgb_.size())};
        for (std::size_t i = 0; i < rgb_.size(); ++i)
            result.rgb[i] = static_cast<std::uint8_t>(std::clamp(rgb_[i], 0.0f, 1.0f) * 255.0f + 0.5f);
        return result;
    }

private:
    std::size_t at(int x, int y) const { return static_cast<std::size_t>(y) * static_cast<std::size_t>(width_) + static_cast<std::size_t>(x); }
    // The pixels that [low, high] touches within [first, last); false where there are none.
    static bool pixels(double low, double high, int first, int last, int& from, int& to) {
        if (!(high > first) || !(low < last)) return false;
        from = std::max(first, static_cast<int>(std::floor(std::max(low, -1.0))));
        to = std::min(last, static_cast<int>(std::ceil(std::min(high, 1e6))));
        return from < to;
    }
    void cover(int x, int y, float amount) {
        if (amount <= 0.0f) return;
        float& covered = coverage_[at(x, y)];
        covered = std::max(covered, amount);
        left_ = std::min(left_, x), right_ = std::max(right_, x + 1), top_ = std::min(top_, y), bottom_ = std::max(bottom_, y + 1);
    }
    void forget() { left_ = width_, right_ = 0, top_ = height_, bottom_ = 0; }

    int width_, height_, clip_left_, clip_right_, clip_top_, clip_bottom_, left_, right_, top_, bottom_;
    std::vector<float> rgb_, coverage_;
};

// Where the labelled ticks of an axis are, and how to write them.
struct Ticks {
    std::vector<double> at;
    std::vector<double> minor;
    std::vector<std::string> labels;
};

inline Ticks linear_ticks(double low, double high, int wanted) {
    Ticks ticks;
    const double rough = (high - low) / std::max(wanted, 2), power = std::pow(10.0, std::floor(std::log10(rough)));
    const double mantissa = rough / power;
    const double step = power * (mantissa <= 1.0 ? 1.0 : mantissa <= 2.0 ? 2.0 : mantissa <= 5.0 ? 5.0 : 10.0);
    const int decimals = std::clamp(static_cast<int>(std::ceil(-std::log10(step) - 1e-9)), 0, 12);
    const double largest = std::max(std::abs(low), std::abs(high));
    const double first = std::ceil(low / step - 1e-6);
    for (int i = 0; i < 100 && (first + i) * step <= high + 1e-6 * step; ++i) {
        const double value = (first + i) * step;
        char label[64];
        if (largest >= 1e7 || (largest < 1e-4 && largest > 0)) std::snprintf(label, sizeof label, "%.3g", value);
        else std::snprintf(label, sizeof label, "%.*f", decimals, value);
        ticks.at.push_back(value);
        ticks.labels.emplace_back(label);
    }
    return ticks;
}

inline Ticks decade_ticks(double low, double high) {
    Ticks ticks;
    const int from = static_cast<int>(std::ceil(low - 1e-9)), to = static_cast<int>(std::floor(high + 1e-9));
    const int stride = std::max(1, (to - from) / 8 + 1);
    for (int decade = from; decade <= to; decade += stride) {
        char label[32];
        if (decade >= 0 && decade <= 6) std::snprintf(label, sizeof label, "%.0f", std::pow(10.0, decade));
        else std::snprintf(label, sizeof label, "1e%d", decade);
        ticks.at.push_back(decade);
        ticks.labels.emplace_back(label);
    }
    for (int decade = from - 1; decade <= to && stride == 1; ++decade)
        for (int digit = 2; digit <= 9; ++digit) {
            const double value = decade + std::log10(double(digit));
            if (value > low && value < high) ticks.minor.push_back(value);
        }
    return ticks;
}

}  // namespace detail

// A line plot: add series, then save. The legend stands beside the axes, so it never covers a line.
class Plot {
public:
    // Throws ValueError when the picture would be smaller than 400 x 300 or larger than 8192 x 8192 pixels.
    explicit Plot(PlotOptions options = {}) : options_(std::move(options)) {
        if (options_.width < 400 || options_.height < 300 || options_.width > 8192 || options_.height > 8192)
            fail<ValueError>("Plot: ", options_.width, " x ", options_.height, " pixels: expected 400 x 300 to 8192 x 8192");
    }

    // Throws ValueError when x, y and spread are not of one length.
    Plot& add(Series series) {
        if (series.x.size() != series.y.size() || (!series.spread.empty() && series.spread.size() != series.y.size()))
            fail<ValueError>("Plot: series \"", series.name.c_str(), "\" has ", static_cast<long>(series.x.size()), " x, ",
                             static_cast<long>(series.y.size()), " y and ", static_cast<long>(series.spread.size()),
                             " spread values: expected one length (or no spread)");
        if (series.colour < 0) series.colour = static_cast<int>(series_.size());
        series_.push_back(std::move(series));
        return *this;
    }

    // The colour that the i-th series is drawn in.
    Colour colour(std::size_t i) const { return plot_colours[static_cast<std::size_t>(series_.at(i).colour) % std::size(plot_colours)]; }

    // The picture.
    Image draw() const {
        detail::Canvas canvas(options_.width, options_.height);
        const double small = 12, label = 13, title = 16, legend_line = 30;
        const Colour ink{40, 40, 40}, grid{226, 226, 226}, minor{240, 240, 240}, frame{90, 90, 90};
        const Range x = x_range(), y = y_range();

        double legend_width = 0;
        for (const Series& s : series_) {
            if (s.name.empty()) continue;
            double width = 0;
            text_strokes(s.name, small, &width);
            legend_width = std::max(legend_width, width + 34 + 10 + 12);
        }
        const double top = options_.title.empty() ? 24 : 62, bottom = options_.height - (options_.x_label.empty() ? 44.0 : 76.0);
        const detail::Ticks y_ticks = detail::linear_ticks(y.low, y.high, static_cast<int>((bottom - top) / 70));
        double tick_width = 0;
        for (const std::string& text : y_ticks.labels) {
            double width = 0;
            text_strokes(text, small, &width);
            tick_width = std::max(tick_width, width);
        }
        const double left = tick_width + 22 + (options_.y_label.empty() ? 8 : 36);
        const double right = options_.width - std::max(legend_width + 22, 28.0);
        detail::Ticks x_ticks = options_.x_log ? detail::decade_ticks(x.low, x.high)
                                               : detail::linear_ticks(x.low, x.high, static_cast<int>((right - left) / 110));
        if (options_.x_log && x_ticks.at.size() < 2) {  // less than a decade: ordinary numbers, at their logarithms
            x_ticks = detail::linear_ticks(std::pow(10.0, x.low), std::pow(10.0, x.high), static_cast<int>((right - left) / 110));
            for (double& at : x_ticks.at) at = std::log10(at);
        }
        const auto to_x = [&](double v) { return left + (v - x.low) / (x.high - x.low) * (right - left); };
        const auto to_y = [&](double v) { return bottom - (v - y.low) / (y.high - y.low) * (bottom - top); };

        for (double at : x_ticks.minor) canvas.rectangle(to_x(at) - 0.5, top, to_x(at) + 0.5, bottom);
        canvas.ink(minor);
        for (double at : x_ticks.at) canvas.rectangle(to_x(at) - 0.5, top, to_x(at) + 0.5, bottom);
        for (double at : y_ticks.at) canvas.rectangle(left, to_y(at) - 0.5, right, to_y(at) + 0.5);
        canvas.ink(grid);

        canvas.clip(left - 4, top, right + 4, bottom);
        for (std::size_t i = 0; i < series_.size(); ++i) draw_band(canvas, i, to_x, to_y);
        for (std::size_t i = 0; i < series_.size(); ++i) draw_line(canvas, i, to_x, to_y, left, right);
        canvas.unclip();

        canvas.rectangle(left - 1, top, left + 0.5, bottom + 1);
        canvas.rectangle(left - 1, bottom - 0.5, right, bottom + 1);
        for (double at : x_ticks.at) canvas.rectangle(to_x(at) - 0.75, bottom, to_x(at) + 0.75, bottom + 6);
        for (double at : y_ticks.at) canvas.rectangle(left - 6, to_y(at) - 0.75, left, to_y(at) + 0.75);
        canvas.ink(frame);
        for (std::size_t i = 0; i < x_ticks.at.size(); ++i)
            canvas.text(to_x(x_ticks.at[i]), bottom + 12 + small, x_ticks.labels[i], small, 0.5, ink);
        for (std::size_t i = 0; i < y_ticks.at.size(); ++i)
            canvas.text(left - 11, to_y(y_ticks.at[i]) + small / 2, y_ticks.labels[i], small, 1.0, ink);
        canvas.text((left + right) / 2, options_.height - 16, options_.x_label, label, 0.5, ink);
        canvas.text(12 + label, (top + bottom) / 2, options_.y_label, label, 0.5, ink, true);
        canvas.text(left, 40, options_.title, title, 0.0, ink, false, 0.15);

        double at = top + 14;
        for (std::size_t i = 0; i < series_.size(); ++i) {
            const Series& s = series_[i];
            if (s.name.empty()) continue;
            const double from = right + 18, to = from + 34;
            if (!s.spread.empty()) {
                canvas.rectangle(from, at - 7, to, at + 7);
                canvas.ink(colour(i), 0.22);
            }
            if (s.dashed) {
                canvas.segment({from + 2, at}, {from + 11, at}, line_width);
                canvas.segment({from + 21, at}, {to - 4, at}, line_width);
            } else {
                canvas.segment({from + 2, at}, {to - 2, at}, line_width);
            }
            canvas.ink(colour(i));
            canvas.text(to + 10, at + small / 2, s.name, small, 0.0, ink);
            at += legend_line;
        }
        return canvas.image();
    }

    // Writes the picture as a PNG file. Throws FileError when that fails.
    void save(const std::string& path) const { write_png(path, draw()); }

private:
    static constexpr double line_width = 2.6;

    struct Range {
        double low, high;
    };

    // Within these bounds differences stay finite.
    static bool drawable(double v) { return std::abs(v) <= 1e300; }
    double x_of(double x) const { return options_.x_log ? (x > 0 ? std::log10(x) : std::numeric_limits<double>::quiet_NaN()) : x; }

    Range x_range() const {
        Range r{std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()};
        for (const Series& s : series_)
            for (std::size_t i = 0; i < s.x.size(); ++i) {
                const double v = x_of(s.x[i]);
                if (drawable(v) && drawable(s.y[i])) r = {std::min(r.low, v), std::max(r.high, v)};
            }
        return widened(r);
    }
    Range y_range() const {
        Range r{std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity()};
        for (const Series& s : series_)
            for (std::size_t i = 0; i < s.y.size(); ++i) {
                const double half = !s.spread.empty() && drawable(s.spread[i]) ? s.spread[i] : 0.0;
                if (drawable(s.y[i]) && drawable(x_of(s.x[i])))
                    r = {std::min(r.low, s.y[i] - half), std::max(r.high, s.y[i] + half)};
            }
        r = widened(r);
        const double margin = 0.04 * (r.high - r.low);
        r = {r.low - margin, r.high + margin};
        if (std::isfinite(options_.y_low)) r.low = options_.y_low;
        if (std::isfinite(options_.y_high)) r.high = options_.y_high;
        return widened(r);
    }
    // A range with an inside, also where there is one value or none.
    static Range widened(Range r) {
        if (!(r.low <= r.high)) return {0.0, 1.0};
        const double least = std::max(std::abs(r.low), std::abs(r.high)) * 1e-9;
        if (r.high - r.low > least && std::isfinite(r.high - r.low)) return r;
        const double half = r.low == 0.0 ? 1.0 : std::abs(r.low) * 0.1;
        return {r.low - half, r.high + half};
    }

    template <class X, class Y>
    void draw_band(detail::Canvas& canvas, std::size_t index, const X& to_x, const Y& to_y) const {
        const Series& s = series_[index];
        if (s.spread.empty()) return;
        for (std::size_t i = 1; i < s.x.size(); ++i) {
            const double x0 = x_of(s.x[i - 1]), x1 = x_of(s.x[i]);
            if (!drawable(x0) || !drawable(x1) || !drawable(s.y[i - 1]) || !drawable(s.y[i]) || !drawable(s.spread[i - 1]) ||
                !drawable(s.spread[i]))
                continue;
            canvas.trapezoid(to_x(x0), to_y(s.y[i - 1] - s.spread[i - 1]), to_y(s.y[i - 1] + s.spread[i - 1]), to_x(x1),
                             to_y(s.y[i] - s.spread[i]), to_y(s.y[i] + s.spread[i]));
        }
        canvas.ink(colour(index), 0.2);
    }

    template <class X, class Y>
    void draw_line(detail::Canvas& canvas, std::size_t index, const X& to_x, const Y& to_y, double left, double right) const {
        const Series& s = series_[index];
        std::vector<Point> run;
        long points = 0;
        const auto finish = [&] {
            if (!run.empty()) stroke(canvas, thinned(run), s.dashed);
            run.clear();
        };
        for (std::size_t i = 0; i < s.x.size(); ++i) {
            const double x = x_of(s.x[i]);
            if (!drawable(x) || !drawable(s.y[i])) {
                finish();
                continue;
            }
            run.push_back({to_x(x), std::clamp(to_y(s.y[i]), -1e5, 1e5)});
            ++points;
        }
        finish();
        // Few points are shown as dots too: they are what was measured.
        if (points > 0 && points <= 60 && static_cast<double>(points) * 14 < right - left)
            for (std::size_t i = 0; i < s.x.size(); ++i) {
                const double x = x_of(s.x[i]);
                if (!drawable(x) || !drawable(s.y[i])) continue;
                const Point p{to_x(x), std::clamp(to_y(s.y[i]), -1e5, 1e5)};
                canvas.segment(p, p, 6.5);
            }
        canvas.ink(colour(index));
    }

    // Many points per pixel column: the first, the lowest, the highest and the last of each say as much.
    static std::vector<Point> thinned(const std::vector<Point>& points) {
        if (points.size() < 4000) return points;
        std::vector<Point> kept;
        for (std::size_t i = 0; i < points.size();) {
            std::size_t end = i, low = i, high = i;
            for (; end < points.size() && std::floor(points[end].x) == std::floor(points[i].x); ++end) {
                if (points[end].y < points[low].y) low = end;
                if (points[end].y > points[high].y) high = end;
            }
            for (std::size_t k : {i, std::min(low, high), std::max(low, high), end - 1})
                if (kept.empty() || kept.back().x != points[k].x || kept.back().y != points[k].y) kept.push_back(points[k]);
            i = end;
        }
        return kept;
    }

    static void stroke(detail::Canvas& canvas, const std::vector<Point>& points, bool dashed) {
        if (!dashed) return canvas.polyline(points, line_width);
        const double dash = 11, gap = 9;
        double along = 0;
        for (std::size_t i = 1; i < points.size(); ++i) {
            const Point a = points[i - 1], b = points[i];
            const double length = std::hypot(b.x - a.x, b.y - a.y);
            for (double done = 0; done < length;) {
                const double phase = std::fmod(along, dash + gap);
                const double piece = std::min((phase < dash ? dash : dash + gap) - phase + 1e-9, length - done);
                if (phase < dash) {
                    const double t0 = done / length, t1 = (done + piece) / length;
                    canvas.segment({a.x + t0 * (b.x - a.x), a.y + t0 * (b.y - a.y)}, {a.x + t1 * (b.x - a.x), a.y + t1 * (b.y - a.y)},
                                   line_width);
                }
                done += piece;
                along += piece;
            }
        }
    }

    PlotOptions options_;
    std::vector<Series> series_;
};

}  // namespace tenon::io
