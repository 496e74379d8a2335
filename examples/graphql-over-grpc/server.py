"""The service: an ordinary grpcio server that knows nothing of GraphQL or of the gateway."""

import queue
import sys
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

# grpcio-tools compiles the proto on import; a build step with protoc does as well.
sys.path.insert(0, str(Path(__file__).parent))
pb, services = grpc.protos_and_services("shop.proto")

PRODUCTS = [
    pb.Product(
        id="1",
        title="Kettle",
        price_cents=3450,
        condition=pb.NEW,
        attributes={"colour": "blue"},
        parcel=pb.Parcel(grams=900),
    ),
    pb.Product(id="2", title="Tea, a field guide", price_cents=1200, download_url="https://shop.example/tea.epub"),
]


class Shop(services.ShopServicer):
    def __init__(self):
        self._reviews = defaultdict(list)
        self._watchers = defaultdict(list)
        self._lock = threading.Lock()

    def ListProducts(self, request, context):
        return pb.ListProductsResponse(products=[one for one in PRODUCTS if request.title in one.title])

    def GetProduct(self, request, context):
        for product in PRODUCTS:
            if product.id == request.id:
                return product
        context.abort(grpc.StatusCode.NOT_FOUND, f"no product {request.id!r}")

    def AddReview(self, request, context):
        if not 1 <= request.stars <= 5:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "stars: 1 to 5")
        review = pb.Review(product_id=request.product_id, stars=request.stars, text=request.text)
        review.at.GetCurrentTime()
        with self._lock:
            self._reviews[request.product_id].append(review)
            for watcher in self._watchers[request.product_id]:
                watcher.put(review)
        return review

    def WatchReviews(self, request, context):
        watcher = queue.Queue()
        with self._lock:
            for review in self._reviews[request.product_id]:
                watcher.put(review)
            self._watchers[request.product_id].append(watcher)
        context.add_callback(lambda: watcher.put(None))
        try:
            while (review := watcher.get()) is not None:
                yield review
        finally:
            with self._lock:
                self._watchers[request.product_id].remove(watcher)


def main():
    port = sys.argv[1] if len(sys.argv) > 1 else "50051"
    server = grpc.server(ThreadPoolExecutor(32))
    services.add_ShopServicer_to_server(Shop(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main()
