// Shapes as data sets of clouds: ModelNet10's meshes, of which every access draws other points, or shapes of our own making.
#pragma once

#include "options.hpp"
#include "point_models.hpp"

#include <tenon/graph/io/off.hpp>
#include <tenon/graph/synthetic_shapes.hpp>

#include <filesystem>

namespace pyg_example {

struct CloudBatch {
    Cloud cloud;
    Tensor<std::int64_t, 1> labels;
};

// A data set for data::batches. The points of a mesh depend on key and on the number of the mesh alone.
struct ShapeSet {
    std::vector<graph::GraphData<>> meshes;      // pos and face; no faces: pos are the points
    std::vector<std::int64_t> labels;
    long points = 256;
    Key key;

    long size() const { return static_cast<long>(labels.size()); }
    CloudBatch batch(const long* rows, long count) const {
        const Tensor<float, 2> pos = empty<float>({count * points, 3});
        const Tensor<std::int64_t, 1> pointers = empty<std::int64_t>({count + 1}), y = empty<std::int64_t>({count});
        pointers.data()[0] = 0;
        for (long i = 0; i < count; ++i) {
            const graph::GraphData<>& mesh = meshes[static_cast<std::size_t>(rows[i])];
            const Tensor<float, 2> own =
                mesh.face.has_value()
                    ? graph::sample_points(mesh.pos, mesh.face, points, key.split(static_cast<std::uint64_t>(rows[i]))).pos
                    : mesh.pos;
            std::memcpy(pos.data() + 3 * i * points, own.data(), static_cast<std::size_t>(3 * points) * sizeof(float));
            y.data()[i] = labels[static_cast<std::size_t>(rows[i])];
            pointers.data()[i + 1] = (i + 1) * points;
        }
        return {{{}, pos, Segments::from_pointers(pointers)}, y};
    }
};
struct ShapeSets {
    ShapeSet train, test;
    long classes = 0;
    bool real = false;
};

// <folder>/<class>/train/*.off and test/*.off; classes in the order of their names. Throws FileError.
inline ShapeSets read_model_net(const std::string& folder, const Options& options) {
    namespace fs = std::filesystem;
    ShapeSets s;
    std::vector<std::string> classes;
    if (fs::is_directory(folder))
        for (const fs::directory_entry& entry : fs::directory_iterator(folder))
            if (fs::is_directory(entry.path() / "train") && fs::is_directory(entry.path() / "test"))
                classes.push_back(entry.path().string());
    std::sort(classes.begin(), classes.end());
    if (classes.empty())
        fail<FileError>("--data: no shapes in \"", folder.c_str(),
                        "\", expected folders <class>/train and <class>/test with .off files\nhint: unpack ",
                        "http://vision.princeton.edu/projects/2014/3DShapeNets/ModelNet10.zip; without --data the shapes are made up");
    for (std::size_t c = 0; c < classes.size(); ++c)
        for (ShapeSet* const set : {&s.train, &s.test}) {
            std::vector<std::string> files;
            for (const fs::directory_entry& entry : fs::directory_iterator(classes[c] + (set == &s.train ? "/train" : "/test")))
                if (entry.path().extension() == ".off") files.push_back(entry.path().string());
            std::sort(files.begin(), files.end());
            if (options.quick && files.size() > 4) files.resize(4);
            for (const std::string& file : files) {
                graph::GraphData<> mesh = graph::read_off(file);
                mesh.pos = graph::normalize_scale(mesh.pos);
                set->meshes.push_back(mesh);
                set->labels.push_back(static_cast<std::int64_t>(c));
            }
        }
    if (s.train.size() == 0 || s.test.size() == 0)
        fail<FileError>("--data: \"", folder.c_str(), "\" has no .off files for training or for testing");
    s.classes = static_cast<long>(classes.size());
    s.real = true;
    return s;
}

// The last fifth of each shape's clouds is for testing.
inline ShapeSets made_up_shapes(const Options& options) {
    const long each = options.quick ? 5 : options.clouds, points = options.points > 0 ? options.points : 256;
    const graph::SyntheticShapes all_shapes = graph::synthetic_shapes(Key(options.seed).split(9), {.per_class = each, .points = points});
    ShapeSets s;
    s.classes = graph::synthetic_shape_count;
    for (long i = 0; i < s.classes * each; ++i) {
        ShapeSet& set = i / s.classes < each - each / 5 ? s.train : s.test;
        graph::GraphData<> cloud;
        cloud.pos = contiguous(all_shapes.pos(slice(i * points, (i + 1) * points), all));
        set.meshes.push_back(cloud);
        set.labels.push_back(all_shapes.label.data()[i]);
    }
    return s;
}

inline ShapeSets read_shapes(const Options& options) {
    ShapeSets s = options.data.empty() ? made_up_shapes(options) : read_model_net(options.data, options);
    s.train.points = s.test.points = options.points > 0 ? options.points : s.real && !options.quick ? 1024 : 256;
    s.test.key = Key(options.seed).split(10);
    return s;
}

}  // namespace pyg_example
