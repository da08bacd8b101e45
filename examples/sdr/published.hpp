// What was published, in its four versions, which disagree.
#pragma once

#include "../common/example.hpp"

namespace sdr_example {

inline void print_published() {
    std::printf("\npublished, error in per cent; DN: DenseNet, C10 and C100: CIFAR-10 and CIFAR-100\n");
    example::Table table({"version", "network, data", "dropout", "SDR", "what it is"});
    table.row({"arXiv v1, August 2018", "DN-40 C10", "5.16", "2.26", "TRAINING error (printed as test error, corrected by the author later)"});
    table.row({"", "DN-40 C100", "22.60", "9.36", "the same"});
    table.row({"", "DN-100 C10", "3.82", "1.36", "the same"});
    table.row({"ICML submission, February 2019", "DN-40 C10", "6.88", "5.91", "validation error, top 1"});
    table.row({"", "DN-40 C100", "27.88", "24.58", "the same"});
    table.row({"", "DN-100 C100", "24.41", "21.36", "the same"});
    table.row({"", "DN-BC-250 C100", "23.91", "19.79", "the same"});
    table.row({"Neural Computation, 2020, decay", "DN-40 C10", "6.88", "6.53", "the same"});
    table.row({"", "DN-40 C100", "28.31", "27.39", "the same"});
    table.row({"", "DN-100 C100", "23.00", "22.10", "the same"});
    table.row({"Neural Computation, 2020, dynamic", "DN-40 C10", "6.88", "6.10", "the same; the formula was not published"});
    table.row({"", "DN-40 C100", "28.31", "25.63", "the same"});
    table.print();
    std::printf("2019: end of training, training loss: dropout 1.85, SDR 0.24 (DN-40 C10); dropout's final validation error after 45 of 100 epochs (DN-40 C10).\n"
                "The authors' commands give SDR a learning rate of 0.25 or 0.3 and dropout 0.1. Other data and larger networks than here: numbers cannot be compared, orders can.\n");
}

}  // namespace sdr_example
