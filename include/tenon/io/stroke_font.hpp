// A small font of pen strokes: scales to any size and turns to any angle. Printable ASCII and the plus-minus sign.
//
// A glyph is a list of strokes; a stroke is a list of points, two digits x and y each, on a grid where the base line is
// y = 2, capitals reach 9, small letters 7 and descenders 0. A stroke is straight from point to point, or, behind '~',
// the quadratic spline that starts and ends in its outer points, or, behind 'o', the closed spline.
#pragma once

#include <string>
#include <vector>

namespace tenon::io {

struct Point {
    double x, y;
};

namespace detail {

inline constexpr double glyph_cap = 7.0, glyph_base = 2.0, glyph_gap = 1.9, glyph_space = 2.2;

// The strokes of a character; 127 stands for plus-minus.
inline const char* glyph_strokes(int c) {
    switch (c) {
        case '0': return "o02424909";
        case '1': return "072922 0242";
        case '2': return "~0709494602 0242";
        case '3': return "~0809494626 ~2646420203";
        case '4': return "32390444";
        case '5': return "490906 ~0646420203";
        case '6': return "o02424606 ~39090604";
        case '7': return "094912";
        case '8': return "o06464909 o02424606";
        case '9': return "o05454909 ~47454212";
        case 'A': return "022942 1535";
        case 'B': return "0209 ~092949462606 ~062646422202";
        case 'C': return "~474909024244";
        case 'D': return "0209 ~092949422202";
        case 'E': return "49090242 0636";
        case 'F': return "490902 0636";
        case 'G': return "~474909024245 4525";
        case 'H': return "0209 4249 0646";
        case 'I': return "0222 0929 1219";
        case 'J': return "~3935320203";
        case 'K': return "0209 4905 1642";
        case 'L': return "090242";
        case 'M': return "0209254942";
        case 'N': return "02094249";
        case 'O': return "o02525909";
        case 'P': return "0209 ~092949452505";
        case 'Q': return "o02525909 3452";
        case 'R': return "0209 ~092949452505 2542";
        case 'S': return "~4849090645420203";
        case 'T': return "0949 2922";
        case 'U': return "~090502424549";
        case 'V': return "092249";
        case 'W': return "0912375269";
        case 'X': return "0942 0249";
        case 'Y': return "0925 4925 2522";
        case 'Z': return "09490242";
        case 'a': return "o02424707 4742";
        case 'b': return "o02424707 0902";
        case 'c': return "~464707024243";
        case 'd': return "o02424707 4942";
        case 'e': return "0545 ~454707024243";
        case 'f': return "~391916 1612 0727";
        case 'g': return "o02424707 ~4743400001";
        case 'h': return "0209 ~0507474442";
        case 'i': return "0207 0909";
        case 'j': return "~17131000 1919";
        case 'k': return "0209 3704 1532";
        case 'l': return "0209";
        case 'm': return "0207 ~0507373432 ~3537676462";
        case 'n': return "0207 ~0507474442";
        case 'o': return "o02424707";
        case 'p': return "o02424707 0007";
        case 'q': return "o02424707 4047";
        case 'r': return "0207 ~050737";
        case 's': return "~3637070534320203";
        case 't': return "~19141232 0727";
        case 'u': return "~0704024244 4742";
        case 'v': return "072247";
        case 'w': return "0712365267";
        case 'x': return "0742 0247";
        case 'y': return "0722 4710";
        case 'z': return "07470242";
        case ' ': return "";
        case '.': return "0202";
        case ',': return "1201";
        case ':': return "0303 0606";
        case ';': return "1301 1616";
        case '-': return "0535";
        case '_': return "0141";
        case '=': return "0444 0646";
        case '+': return "0545 2327";
        case 127: return "0646 2428 0343";
        case '*': return "0644 0446 2327";
        case '/': return "0149";
        case '\\': return "0941";
        case '|': return "0109";
        case '(': return "~29070321";
        case ')': return "~09272301";
        case '[': return "29090121";
        case ']': return "09292101";
        case '{': return "~3919160514112131";
        case '}': return "~0919162514111101";
        case '<': return "470543";
        case '>': return "074503";
        case '%': return "0249 o07272909 o22424424";
        case '!': return "0904 0202";
        case '?': return "~080949462624 2222";
        case '\'': return "0907";
        case '`': return "0917";
        case '"': return "0907 2927";
        case '#': return "1218 3238 0444 0646";
        case '^': return "072947";
        case '~': return "~0506264446";
        case '&': return "~42171939370402323445";
        case '$': return "~3837070634320304 2129";
        case '@': return "o24444626 ~4644545709030252";
        default: return "0242490902";
    }
}

// Cuts the corners of a polygon until it is smooth: nearly the quadratic spline of its points.
inline std::vector<Point> smooth(std::vector<Point> points, bool closed) {
    for (int round = 0; round < 3; ++round) {
        std::vector<Point> next;
        const std::size_t count = points.size(), edges = closed ? count : count - 1;
        if (!closed) next.push_back(points.front());  // the ends of an open curve stay where they are
        for (std::size_t i = 0; i < edges; ++i) {
            const Point a = points[i], b = points[(i + 1) % count];
            next.push_back({a.x + 0.25 * (b.x - a.x), a.y + 0.25 * (b.y - a.y)});
            next.push_back({a.x + 0.75 * (b.x - a.x), a.y + 0.75 * (b.y - a.y)});
        }
        if (!closed) next.push_back(points.back());
        points.swap(next);
    }
    if (closed) points.push_back(points.front());
    return points;
}

}  // namespace detail

// The strokes of a line of text whose capitals are height tall, with the base line's start in the origin, y upwards;
// width, where asked for, is how far the text reaches.
inline std::vector<std::vector<Point>> text_strokes(const std::string& text, double height, double* width = nullptr) {
    std::vector<std::vector<Point>> strokes;
    const double unit = height / detail::glyph_cap;
    double at = 0.0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        int c = static_cast<unsigned char>(text[i]);
        if (c == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) == 0xb1) c = 127, ++i;
        double reach = c == ' ' ? detail::glyph_space : c >= '0' && c <= '9' ? 4.0 : 0.0;
        const char* code = detail::glyph_strokes(c);
        while (*code != '\0') {
            const char kind = *code;
            if (kind == '~' || kind == 'o') ++code;
            std::vector<Point> points;
            while (code[0] != '\0' && code[0] != ' ') {
                const double x = code[0] - '0', y = code[1] - '0';
                points.push_back({x, y - detail::glyph_base});
                reach = x > reach ? x : reach;
                code += 2;
            }
            while (*code == ' ') ++code;
            if (points.empty()) continue;
            if (kind == '~' || kind == 'o') points = detail::smooth(points, kind == 'o');
            for (Point& p : points) p = {(at + p.x) * unit, p.y * unit};
            strokes.push_back(points);
        }
        at += reach + detail::glyph_gap;
    }
    if (width != nullptr) *width = text.empty() ? 0.0 : (at - detail::glyph_gap) * unit;
    return strokes;
}

}  // namespace tenon::io
