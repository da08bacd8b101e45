// Which part of a published data set.
#pragma once

namespace tenon::data {

enum class Split { train, test };

}  // namespace tenon::data
