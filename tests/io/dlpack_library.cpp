// What dlpack.py calls: tenon's half of exchanges by DLPack, behind plain C functions.
#include "files.hpp"

#include <tenon/io/dlpack.hpp>

using namespace tenon;

namespace {
io::Array kept;  // the tensor that came from Python, or stays behind here
io::Array of_type(int type, const std::vector<long>& shape) {
    io::Array result;
    int index = 0;
    files::for_each_type([&](const char*, auto t) {
        if (index++ == type) result = files::make<decltype(t)>(shape);
    });
    return result;
}
char error[4096];
}  // namespace

extern "C" {
// A fresh tensor [2, 3, 4] of a type (as numbered by files::for_each_type) for Python; kept here too where asked.
void* library_make(int type, int versioned, int transposed, int keep) {
    io::Array x = of_type(type, {2, 3, 4});
    if (transposed != 0) {
        files::for_each_type([&](const char*, auto t) {
            using T = decltype(t);
            if (x.dtype() == dtype_of<T>) x = io::Array(x.as<T, 3>().template permute<2, 0, 1>());
        });
    }
    if (keep != 0) kept = x;
    if (versioned != 0) return io::to_dlpack(x);
    return io::to_dlpack_unversioned(x);
}
// A tensor from Python; 0 where it was refused (library_error() says why).
int library_take(void* managed, int versioned) {
    try {
        kept = versioned != 0 ? io::from_dlpack(static_cast<io::dlpack::DLManagedTensorVersioned*>(managed)) : io::from_dlpack(static_cast<io::dlpack::DLManagedTensor*>(managed));
        return 1;
    } catch (const Error& e) {
        std::snprintf(error, sizeof error, "%s", e.what());
        return 0;
    }
}
const char* library_error() { return error; }
void library_drop() { kept = io::Array(); }
// Whether the kept tensor has the values that files::make gives a tensor of that shape.
int library_is_made() {
    bool same = false;
    files::for_each_type([&](const char*, auto t) {
        std::vector<long> shape;
        for (int i = 0; i < kept.rank(); ++i) shape.push_back(kept.shape(i));
        if (kept.dtype() == dtype_of<decltype(t)>) same = files::equal(kept, files::make<decltype(t)>(shape));
    });
    return same ? 1 : 0;
}
void* library_data() { return kept.record()->data(); }
int library_exported() { return kept.record()->storage->exported; }
long library_live() { return memory::statistics().live; }
}
