// Predict with a network of `unetkit export` in C++, with ONNX Runtime only. Images: PGM or PPM, of 8 or 16 bits.
// g++ -std=c++17 -O2 onnx_cpp.cpp -I$ORT/include -L$ORT/lib -Wl,-rpath,$ORT/lib -lonnxruntime -o onnx_cpp
// ./onnx_cpp model.onnx image.pgm mask.pgm probabilities.f32     (the last file: float32, classes x height x width)
// $ORT: a release of github.com/microsoft/onnxruntime, unpacked, or libonnxruntime-dev of Debian and Ubuntu.
#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

int main(int argc, char** argv) {
  if (argc != 5) return std::cerr << "onnx_cpp MODEL IMAGE MASK PROBABILITIES\n", 2;
  std::ifstream file(argv[2], std::ios::binary);
  std::string magic;
  int64_t width = 0, height = 0, largest = 0;
  file >> magic >> width >> height >> largest;  // a PGM or PPM without comments
  file.get();
  const int64_t channels = magic == "P6" ? 3 : 1, plane = height * width;
  std::vector<float> values(channels * plane);  // channels first
  for (int64_t i = 0; i < channels * plane; ++i) {
    const int high = largest > 255 ? file.get() : 0;
    values[i % channels * plane + i / channels] = static_cast<float>(high * 256 + file.get());
  }
  if (!file) return std::cerr << argv[2] << " is not a PGM or PPM file\n", 1;

  Ort::Env env;
  Ort::Session session(env, argv[1], Ort::SessionOptions{});
  const auto cpu = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  const std::vector<int64_t> shape{1, channels, height, width};
  std::vector<uint8_t> bytes(values.begin(), values.end());
  const auto type = session.GetInputTypeInfo(0).GetTensorTypeAndShapeInfo().GetElementType();
  const bool takes_bytes = type == ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
  if (takes_bytes && largest > 255) return std::cerr << argv[2] << " has 16 bits, but the network takes 8\n", 1;
  const Ort::Value images =
      takes_bytes
          ? Ort::Value::CreateTensor<uint8_t>(cpu, bytes.data(), bytes.size(), shape.data(), shape.size())
          : Ort::Value::CreateTensor<float>(cpu, values.data(), values.size(), shape.data(), shape.size());
  const char *input = "images", *output = "probabilities";
  const auto results = session.Run(Ort::RunOptions{}, &input, &images, 1, &output, 1);
  const float* p = results[0].GetTensorData<float>();  // (1, classes, height, width)
  const int64_t classes = results[0].GetTensorTypeAndShapeInfo().GetShape()[1];

  Ort::AllocatorWithDefaultOptions allocator;
  const auto fact = [&](const char* name) {
    return std::stof(session.GetModelMetadata().LookupCustomMetadataMapAllocated(name, allocator).get());
  };
  const float threshold = fact("threshold");
  std::vector<uint8_t> mask(plane, 0);
  for (int64_t i = 0; i < plane; ++i) {
    if (classes == 1) mask[i] = p[i] > threshold ? 255 : 0;
    for (int64_t c = 1; c < classes; ++c)
      if (p[c * plane + i] > p[mask[i] * plane + i]) mask[i] = static_cast<uint8_t>(c);
  }
  if (plane - std::count(mask.begin(), mask.end(), 0) < fact("min_area")) mask.assign(plane, 0);
  std::ofstream(argv[3], std::ios::binary) << "P5\n" << width << ' ' << height << "\n255\n"
                                           << std::string(mask.begin(), mask.end());
  std::ofstream(argv[4], std::ios::binary)
      .write(reinterpret_cast<const char*>(p), classes * plane * static_cast<int64_t>(sizeof(float)));
}
