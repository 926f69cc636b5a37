// A Vulkan layer under which a driver without its card (Mesa's RADV with RADV_FORCE_FAMILY) can be opened and compiles
// pipelines: commands and submissions are swallowed, for their recording would crash there, and waiting ends at once.
// It declares the little of Vulkan that it needs (vulkan_core.h, vk_layer.h), so that a C compiler alone builds it.

typedef int Result; // 0 is VK_SUCCESS
typedef void (*Function)(void);
typedef Function (*GetFunction)(void *handle, const char *name);

enum { CREATE_INSTANCE = 47, CREATE_DEVICE = 48 }; // VK_STRUCTURE_TYPE_LOADER_..._CREATE_INFO
enum { INITIALIZATION_FAILED = -3, LAYER_LINK = 0 };

// The next layer, or the driver, as the loader tells it.
struct Link {
  struct Link *next;
  GetFunction instance_function, device_function;
};

// The beginning of every structure of a pNext chain, and of those in which the loader hands the link over.
struct Chained {
  int type;
  struct Chained *next;
  int function;
  struct Link *link;
};

struct Negotiation {
  int type;
  void *next;
  unsigned version;
  GetFunction instance_function, device_function, physical_device_function;
};

int strcmp(const char *, const char *);
int strncmp(const char *, const char *, unsigned long);
void *memset(void *, int, unsigned long);

static GetFunction next_instance_function, next_device_function;
static void *instance;

static Result succeed(void) { return 0; }

static Result query_results(void *device, void *pool, unsigned first, unsigned count, unsigned long size, void *data) {
  memset(data, 0, size);
  return 0;
}

// What is done in place of the driver, or null.
static Function swallowed(const char *name) {
  static const char *const names[] = {
      "vkBeginCommandBuffer", "vkEndCommandBuffer", "vkResetCommandBuffer", "vkResetCommandPool",
      "vkQueueSubmit",        "vkQueueSubmit2",     "vkQueueSubmit2KHR",    "vkQueueWaitIdle",
      "vkDeviceWaitIdle",     "vkGetFenceStatus",   "vkWaitForFences",      "vkResetFences",
  };
  if (!strncmp(name, "vkCmd", 5)) return (Function)succeed;
  if (!strcmp(name, "vkGetQueryPoolResults")) return (Function)query_results;
  for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
    if (!strcmp(name, names[i])) return (Function)succeed;
  return 0;
}

// Takes this layer's link out of what is created with, and leaves the next layer's there; null where there is none.
static struct Link *take_link(struct Chained *info, int type) {
  for (info = info->next; info; info = info->next) {
    if (info->type != type || info->function != LAYER_LINK) continue;
    struct Link *link = info->link;
    info->link = link->next;
    return link;
  }
  return 0;
}

static Result create_instance(struct Chained *info, const void *allocator, void **created) {
  struct Link *link = take_link(info, CREATE_INSTANCE);
  if (!link) return INITIALIZATION_FAILED;
  next_instance_function = link->instance_function;
  typedef Result (*Create)(struct Chained *, const void *, void **);
  Result result = ((Create)next_instance_function(0, "vkCreateInstance"))(info, allocator, created);
  instance = *created;
  return result;
}

static Result create_device(void *gpu, struct Chained *info, const void *allocator, void **created) {
  struct Link *link = take_link(info, CREATE_DEVICE);
  if (!link) return INITIALIZATION_FAILED;
  next_device_function = link->device_function;
  typedef Result (*Create)(void *, struct Chained *, const void *, void **);
  return ((Create)link->instance_function(instance, "vkCreateDevice"))(gpu, info, allocator, created);
}

static Function device_function(void *device, const char *name) {
  if (!strcmp(name, "vkGetDeviceProcAddr")) return (Function)device_function;
  Function own = swallowed(name);
  return own ? own : next_device_function(device, name);
}

static Function instance_function(void *handle, const char *name) {
  if (!strcmp(name, "vkCreateInstance")) return (Function)create_instance;
  if (!strcmp(name, "vkCreateDevice")) return (Function)create_device;
  if (!strcmp(name, "vkGetInstanceProcAddr")) return (Function)instance_function;
  if (!strcmp(name, "vkGetDeviceProcAddr")) return (Function)device_function;
  Function own = swallowed(name);
  return own || !next_instance_function ? own : next_instance_function(handle, name);
}

Result vkNegotiateLoaderLayerInterfaceVersion(struct Negotiation *negotiation) {
  negotiation->version = 2;
  negotiation->instance_function = instance_function;
  negotiation->device_function = device_function;
  negotiation->physical_device_function = 0;
  return 0;
}
